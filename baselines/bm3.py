"""BM3: representations that predict each other under dropout, with neither item graphs nor negatives.

Zhou et al., "Bootstrap latent representations for multi-modal recommendation", WWW 2023. With g from LightGCN, the
features x_m, one predictor P(h) = h W_p + b_p shared by all, and the distance D(a, b) = 1 - cos(a, b):

    h_u = g_u,  h_i = g_i + e_i,  h_m = x_m W_m + b_m
    h'      = dropout(h), without a gradient: the target
    L_rec   = D(P(h_u), h'_i) + D(P(h_i), h'_u)      reconstructs the interactions
    L_align = sum_m D(P(h_m), h'_i)                  between modalities
    L_mask  = sum_m D(P(h_m), h'_m)                  within a modality
    L       = L_rec + w (L_align + L_mask) + L2,     score(u, i) = P(h_u) . P(h_i)

Defaults are the authors' published choice for Baby and Sports (their repository): 1 layer, dropout 0.5; and their
code's w = 2 and trained features. Their grid: layers 1, 2; dropout 0.3, 0.5; L2 0.1, 0.01 (Electronics: 2, 0.3, 0.1).

Deviations
1. The features are trained along, as in the authors' code; the equations do not say so, hence a switch.
2. The L2 term takes squared norms of the batch's h_u, h_i, as all models here do, with 0 as the default. The authors'
   code takes the norms, not squared, of the whole tables over the number of items: next to nothing, so that their
   weights mean nothing here. No cosine feels the norms, but how far a step of Adam turns a row depends on them.
3. w is 1 in the equations and 2 in the authors' code; the default is the latter.
4. Dropout is drawn for each pair of the batch, not once per user and item.
5. Weights start Xavier-uniform, biases at 0. A modality without features is not used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.graphs import interaction_graph, lightgcn_layers
from tmfun.recommender import Batch, Recommender
from tmfun.settings import setting
from tmfun.streams import key, xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(1, least=0)  # of LightGCN
    dropout: float = setting(0.5, least=0, most=0.99)  # of the targets
    alignment_weight: float = setting(2.0, least=0)  # w
    train_features: bool = True  # x
    l2: float = setting(0.0, least=0)


class BM3(Recommender):
    title = "BM3"
    settings_type = Settings
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.sizes, d = [dataset.users, dataset.items], settings.dimension
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        self.interactions = interaction_graph(dataset)
        self.predictor = xavier(seed, "predictor", d, d)  # W_p
        self.predictor_bias = nn.Parameter(torch.zeros(d))  # b_p
        self.features, self.projection, self.bias = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for m in dataset.modalities:
            if m.features is not None:
                x = torch.tensor(m.features)
                self.features[m.name] = nn.Parameter(x, requires_grad=settings.train_features)
                self.projection[m.name] = xavier(seed, f"projection.{m.name}", m.features.shape[1], d)
                self.bias[m.name] = nn.Parameter(torch.zeros(d))
        self.noise = torch.Generator().manual_seed(key(seed, "dropout"))

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return None if cls.reads(card, settings) else "the data set has no features"

    def loss(self, batch: Batch) -> Tensor:
        s = self.settings
        h_u, h_i = self._encode()
        u, i = F.embedding(batch.users, h_u), F.embedding(batch.positives, h_i)  # (B, d)
        target_u, target_i = self._target(u), self._target(i)
        loss = _distance(self._predict(u), target_i) + _distance(self._predict(i), target_u)
        for name, x in self.features.items():
            h = F.embedding(batch.positives, x) @ self.projection[name] + self.bias[name]
            predicted = self._predict(h)
            aligned = _distance(predicted, target_i) + _distance(predicted, self._target(h))
            loss = loss + s.alignment_weight * aligned
        return loss + s.l2 / (2 * len(u)) * (u.square().sum() + i.square().sum())

    def representations(self) -> tuple[Tensor, Tensor]:
        h_u, h_i = self._encode()
        return self._predict(h_u), self._predict(h_i)

    def _encode(self) -> tuple[Tensor, Tensor]:
        """h_u, h_i of all users and items."""
        e = torch.cat([self.user_embedding, self.item_embedding])
        g_u, g_i = lightgcn_layers(self.interactions, e, self.settings.layers).split(self.sizes)
        return g_u, g_i + self.item_embedding

    def _predict(self, h: Tensor) -> Tensor:
        return h @ self.predictor + self.predictor_bias

    def _target(self, h: Tensor) -> Tensor:
        """h' (dropout's usual factor 1 / (1 - p) would change no cosine)."""
        h = h.detach()
        if not self.training or not self.settings.dropout:
            return h
        kept = torch.empty(h.shape).bernoulli_(1 - self.settings.dropout, generator=self.noise)
        return h * kept.to(h.device)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean over rows of D."""
    return 1 - F.cosine_similarity(a, b, dim=1).mean()
