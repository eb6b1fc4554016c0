"""SLMRec: LightGCN on IDs and on each modality, fused by a linear layer, with a self-supervised task beside.

Tao et al., "Self-supervised learning for multimedia recommendation", IEEE TMM 2022. The sources are the IDs and the
modalities; source s gives item inputs x^s: the ID embeddings, or N(features) W_s + b_s with N(v) = v / |v|.

    E^s      = LightGCN(E_U, x^s), L layers, the user embeddings shared by all sources
    z_u      = [ E_u^0, .., E_u^M ] W_U + b_U,  z_i = [ E_i^0, .., E_i^M ] W_I + b_I
    loss     = match(N(z_u), N(z_i), tau_main) + alpha task + l2 / 2 |parameters|^2
    match(a, b, t) = cross-entropy of softmax over the batch's columns of a b^T / t, row r belonging to column r

`task`, on the batch; each is one of the paper's augmentations:
    fac                fine and coarse spaces: from fine (IDs) to coarse, one modality joins at each step m = 1..M:
                       x_m = G_m x_(m-1), y_m = H_m E_i^m, sum over m of match(x_m, y_m, tau), with x_0 = E_i^0
    dropout            two views with dropout on what each graph layer gives; match of the views, users plus items
    masking            two views, each with the item inputs of another source, drawn per batch, set to 0; the same match
    dropout-masking    both at once
    none               the main loss alone

Defaults are those of the authors' code: task fac, alpha 0.1, tau 0.2, tau_main 0.2, three layers, dropout 0.3, d 64, L2
1e-4 (Adam's weight decay on every parameter, as here), at a learning rate of 1e-2. Grid of the toolkit MMRec: learning
rate 1e-4 to 1e-1, tau 0.1, 0.2, 0.5, 1, alpha 0.01, 0.05, 0.1, 0.5, 1.

Deviations
1. The modalities join the coarse space in the data set's order; the paper's is image, audio, text. As in the authors'
   code the last of several steps maps to d / 2.
2. Modalities without features are left out.

The batch's negatives are not used: the other positives of the batch are the negatives, as in the paper.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.graphs import interaction_graph, lightgcn_layers
from tmfun.recommender import LEAST_TEMPERATURE, Batch, Recommender
from tmfun.settings import setting
from tmfun.streams import key, xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=2)  # d
    layers: int = setting(3, least=0)  # L
    task: Literal["fac", "dropout", "masking", "dropout-masking", "none"] = "fac"
    task_weight: float = setting(0.1, least=0)  # alpha
    task_temperature: float = setting(0.2, least=LEAST_TEMPERATURE)  # tau
    temperature: float = setting(0.2, least=LEAST_TEMPERATURE)  # tau_main
    dropout: float = setting(0.3, least=0, most=0.99)
    l2: float = setting(1e-4, least=0)


class SLMRec(Recommender):
    title = "SLMRec"
    settings_type = Settings
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        d = settings.dimension
        self.sizes = [dataset.users, dataset.items]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        self.interactions = interaction_graph(dataset)
        featured = [m for m in dataset.modalities if m.features is not None]
        self.names = [m.name for m in featured]
        self.projection = nn.ModuleDict()
        for m in featured:
            assert m.features is not None
            unit = F.normalize(torch.from_numpy(m.features), dim=1)
            self.register_buffer(f"features_{m.name}", unit, persistent=False)
            self.projection[m.name] = _linear(seed, f"projection.{m.name}", m.features.shape[1], d)
        self.fuse_users = _linear(seed, "fuse_users", d * (1 + len(featured)), d)
        self.fuse_items = _linear(seed, "fuse_items", d * (1 + len(featured)), d)
        if settings.task == "fac":
            self.fine, self.coarse = nn.ModuleList(), nn.ModuleList()  # G, H
            for step, name in enumerate(self.names, start=1):
                width = d // 2 if step == len(featured) > 1 else d
                self.fine.append(_linear(seed, f"fine.{name}", d, width))
                self.coarse.append(_linear(seed, f"coarse.{name}", d, width))
        self.draws = torch.Generator().manual_seed(key(seed, "augmentation"))

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return None if cls.reads(card, settings) else "the data set has no features"

    def representations(self) -> tuple[Tensor, Tensor]:
        return self._fuse(self._encode(self._inputs()))

    def loss(self, batch: Batch) -> Tensor:
        s = self.settings
        inputs = self._inputs()
        encoded = self._encode(inputs)
        z_u, z_i = self._fuse(encoded, batch)
        loss = match(F.normalize(z_u, dim=1), F.normalize(z_i, dim=1), s.temperature)
        if s.task == "fac":
            loss = loss + s.task_weight * self._fine_and_coarse([F.embedding(batch.positives, i) for _, i in encoded])
        elif s.task != "none":
            loss = loss + s.task_weight * self._two_views(inputs, batch)
        squares = torch.stack([parameter.square().sum() for parameter in self.parameters()])
        return loss + s.l2 / 2 * squares.sum()

    def _inputs(self) -> list[Tensor]:
        """x of every source, (items, d) each."""
        features = [self.projection[name](self.get_buffer(f"features_{name}")) for name in self.names]
        return [self.item_embedding, *features]

    def _encode(self, inputs: list[Tensor], dropout: float = 0.0) -> list[tuple[Tensor, Tensor]]:
        """E_U and E_I of every source."""
        encoded = []
        for x in inputs:
            e = torch.cat([self.user_embedding, x])
            if dropout:
                total = e
                for _ in range(self.settings.layers):
                    e = self._drop(self.interactions @ e, dropout)
                    total = total + e
                e = total / (self.settings.layers + 1)
            else:
                e = lightgcn_layers(self.interactions, e, self.settings.layers)
            of_users, of_items = e.split(self.sizes)
            encoded.append((of_users, of_items))
        return encoded

    def _fuse(self, encoded: list[tuple[Tensor, Tensor]], batch: Batch | None = None) -> tuple[Tensor, Tensor]:
        """z_U and z_I of all users and items, or of the batch's users and positive items."""
        of_users = torch.cat([of_users for of_users, _ in encoded], dim=1)
        of_items = torch.cat([of_items for _, of_items in encoded], dim=1)
        if batch is not None:
            of_users, of_items = F.embedding(batch.users, of_users), F.embedding(batch.positives, of_items)
        return self.fuse_users(of_users), self.fuse_items(of_items)

    def _fine_and_coarse(self, sources: list[Tensor]) -> Tensor:
        """The task fac, from the rows of E_I^0 .. E_I^M that the batch asks for."""
        x, losses = sources[0], []
        for fine, coarse, source in zip(self.fine, self.coarse, sources[1:], strict=True):
            x = fine(x)
            losses.append(match(x, coarse(source), self.settings.task_temperature))
        return torch.stack(losses).sum()

    def _two_views(self, inputs: list[Tensor], batch: Batch) -> Tensor:
        """The tasks dropout and masking."""
        s = self.settings
        masked = torch.randperm(len(inputs), generator=self.draws)[:2].tolist()
        views = []
        for mask in masked:
            hidden = s.task in ("masking", "dropout-masking")
            seen = [torch.zeros_like(x) if hidden and place == mask else x for place, x in enumerate(inputs)]
            encoded = self._encode(seen, s.dropout if s.task in ("dropout", "dropout-masking") else 0.0)
            views.append([F.normalize(z, dim=1) for z in self._fuse(encoded, batch)])
        (users_a, items_a), (users_b, items_b) = views
        return match(users_a, users_b, s.task_temperature) + match(items_a, items_b, s.task_temperature)

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        kept = torch.rand(x.shape, generator=self.draws) >= rate
        return x * kept.to(x.device) / (1 - rate)


def match(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """InfoNCE from rows of a to rows of b, (n, d) each, on inner products."""
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a), device=a.device))


def _linear(seed: int, name: str, width: int, d: int) -> nn.Linear:
    """A linear layer, Xavier-uniform from its own stream, its bias 0."""
    layer = nn.utils.skip_init(nn.Linear, width, d)
    layer.weight = nn.Parameter(xavier(seed, name, width, d).detach().T.contiguous())
    layer.bias = nn.Parameter(torch.zeros(d))
    return layer
