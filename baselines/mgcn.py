"""MGCN: content gates the item embeddings, each modality is a view of its own, and behaviour weighs the views.

Yu et al., "Multi-view graph convolutional network for multimedia recommendation", ACM MM 2023. With g from LightGCN on
the IDs (the behaviour), A^m the kNN graph of a modality's cosines and R the user-item block of LightGCN's graph:

    p^m   = E_I * sigmoid((x^m W_m + b_m) V_m + c_m)                behaviour-guided purifier
    v_I^m = (A^m)^L p^m,  v_U^m = R v_I^m                           item-item view, and the users'
    a     = softmax over m of q . tanh(v^m W + b),  s = sum_m a_m v^m
    f     = (s + sum_m (v^m - s) * sigmoid(g Q_m + r_m)) / (M + 1)  behaviour-aware fuser
    z     = g + f
    L     = BPR(z) + w (C(f_U, g_U) + C(f_I, g_I)) + L2,  C = InfoNCE from f to g on cosines

Defaults are those of the authors' code: k 10, one layer of A^m, two of LightGCN, tau 0.2, w 0.01, L2 1e-4. Its grid is
over the layers; the field's toolkit (MMRec) tunes w in 0.001, 0.01, 0.1. Both decay the learning rate by
0.96^(epoch / 50), which is a matter of the training setting here.

Deviations
1. The features stay as they are; the authors' code trains them, which the equations do not say.
2. The divisor of f is that of the authors' code; the paper averages the last sum over M and leaves s whole.
3. The contrast runs over the batch's users and positive items, each once, so that no row is its own negative.
4. A modality with neighbours but no features has no gate: p^m = E_I.
5. Weights start Xavier-uniform, biases at 0.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.graphs import Graph, interaction_graph, knn_matrix, lightgcn_layers, modality_neighbours, propagate
from tmfun.recommender import LEAST_TEMPERATURE, Batch, Recommender, pairwise_loss
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(2, least=0)  # of LightGCN
    neighbours: int = setting(10, least=1)  # k
    item_layers: int = setting(1, least=0)  # L
    contrast_weight: float = setting(0.01, least=0)  # w
    temperature: float = setting(0.2, least=LEAST_TEMPERATURE)  # tau
    l2: float = setting(1e-4, least=0)


class MGCN(Recommender):
    title = "MGCN"
    settings_type = Settings
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.users, self.items, d = dataset.users, dataset.items, settings.dimension
        self.names = [m.name for m in dataset.modalities]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        self.interactions = interaction_graph(dataset)
        self.user_items = Graph(self.interactions.matrix()[: self.users, self.users :])  # R
        self.item_graphs = nn.ModuleDict()
        self.projection, self.gate, self.preference = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for m in dataset.modalities:
            self.item_graphs[m.name] = Graph(knn_matrix(*modality_neighbours(m, settings.neighbours)))  # A^m
            self.preference[m.name] = Affine(seed, f"preference.{m.name}", d, d)  # Q, r
            if m.features is not None:
                self.register_buffer(f"features_{m.name}", torch.from_numpy(m.features), persistent=False)
                self.projection[m.name] = Affine(seed, f"projection.{m.name}", m.features.shape[1], d)  # W_m, b_m
                self.gate[m.name] = Affine(seed, f"gate.{m.name}", d, d)  # V, c
        self.attention = Affine(seed, "attention", d, d)  # W, b
        self.query = xavier(seed, "query", d, 1)  # q

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return super().unusable(card, settings) or card.too_narrow(settings.neighbours)

    def loss(self, batch: Batch) -> Tensor:
        """Past the graphs every user and item is computed on its own: a batch asks for its own."""
        s = self.settings
        users, user_place = batch.users.unique(return_inverse=True)
        items, item_place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        g, f = self._behaviour_and_fused(torch.cat([users, items + self.users]))
        z_u, z_i = (g + f).split([len(users), len(items)])
        local = Batch(user_place, *item_place.split(len(batch.users)))
        loss = pairwise_loss(z_u, z_i, local, s.l2)
        if s.contrast_weight:
            positives = local.positives.unique() + len(users)
            contrast = _contrast(f[: len(users)], g[: len(users)], s.temperature)
            contrast = contrast + _contrast(F.embedding(positives, f), F.embedding(positives, g), s.temperature)
            loss = loss + s.contrast_weight * contrast
        return loss

    def representations(self) -> tuple[Tensor, Tensor]:
        g, f = self._behaviour_and_fused()
        z_u, z_i = (g + f).split([self.users, self.items])
        return z_u, z_i

    def _behaviour_and_fused(self, nodes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """g and f of all users and items, (U + I, d) each, or of `nodes` (n,), items counted after users."""
        e = torch.cat([self.user_embedding, self.item_embedding])
        found = [lightgcn_layers(self.interactions, e, self.settings.layers), *map(self._view, self.names)]
        g, *views = found if nodes is None else [F.embedding(nodes, x) for x in found]
        v = torch.stack(views, dim=1)  # (n, M, d)
        shares = (torch.tanh(self.attention(v)) @ self.query).softmax(dim=1)  # a, (n, M, 1)
        shared = (shares * v).sum(dim=1)  # s, (n, d)
        preferences = torch.stack([self.preference[name](g) for name in self.names], dim=1).sigmoid()  # (n, M, d)
        specific = ((v - shared.unsqueeze(1)) * preferences).sum(dim=1)
        return g, (shared + specific) / (len(views) + 1)

    def _view(self, name: str) -> Tensor:
        """v of one modality, users and items: (U + I, d)."""
        purified: Tensor = self.item_embedding
        if name in self.projection:
            content = self.projection[name](self.get_buffer(f"features_{name}"))
            purified = purified * self.gate[name](content).sigmoid()
        v_i = propagate(cast(Graph, self.item_graphs[name]), purified, self.settings.item_layers)
        return torch.cat([self.user_items @ v_i, v_i])


class Affine(nn.Module):
    """x W + b, W from the stream (seed, name)."""

    def __init__(self, seed: int, name: str, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = xavier(seed, name, rows, columns)
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def _contrast(f: Tensor, g: Tensor, temperature: float) -> Tensor:
    """C: every row of f is to find its own row of g among all rows of g, on cosines."""
    f, g = F.normalize(f, dim=1) / temperature, F.normalize(g, dim=1)
    return ((f @ g.T).exp().sum(dim=1).log() - (f * g).sum(dim=1)).mean()  # no overflow: |f . g| <= 1 / temperature
