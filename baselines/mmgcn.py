"""MMGCN: one graph convolution over the interactions per modality, tied together by the ID embeddings.

Wei et al., "MMGCN: multi-modal graph convolution network for personalized recommendation of micro-video", ACM MM 2019.
In each modality m a user starts as a free vector, an item as its features, both scaled to unit norm: x^(0). Then, with
N(v) the neighbours of v in the training graph and f = LeakyReLU:

    h_v       = f( mean over n in N(v) of W1 x_n )                          aggregation (eq. 3, mean)
    c_v       = f( W2 x_v + b2 ) + e_v                                      combination, with the ID embedding e_v
    x_v'      = f( W3 h_v + b3 + c_v ),  or f( W3 [h_v, c_v] + b3 )         element-wise, or by concatenation
    z_v       = mean over m of x_v^(L)

Defaults are those that the authors' code documents: two layers, mean aggregation, no concatenation, d 64; their code
runs three layers with concatenation, as it reads the text "False" as true. Grid of the paper: learning rate 1e-4 to
1e-2, weight of the L2 term 0 to 1e-1 (chosen: 1e-4 and 1e-1, of a mean over dimensions: divide by 64 to compare). The
weight of the L2 term is LightGCN's here.

Deviations
1. Free user vectors and ID embeddings are trained, as in the paper; the authors' code leaves them at random values.
2. Features wider than `latent` (256) are first projected to that width, whatever the modality; the authors' code does
   so for images alone, the widest it has. The first layer leads to d dimensions at once instead of the width itself.
3. z is the mean over modalities, as in the authors' code; the paper writes a sum, which only scales scores.
4. Modalities without features are left out.
5. The L2 term takes the batch's final z_u, z_i, z_j, as all models here do.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset, Modality
from tmfun.graphs import Graph, interaction_graph
from tmfun.recommender import PairwiseRecommender
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)  # d
    latent: int = setting(256, least=1)  # the width that wider features are projected to
    layers: int = setting(2, least=1)  # L
    combine: Literal["element-wise", "concatenation"] = "element-wise"
    l2: float = setting(1e-3, least=0)


class MMGCN(PairwiseRecommender):
    title = "MMGCN"
    settings_type = Settings
    content = True

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.sizes = [dataset.users, dataset.items]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, settings.dimension)  # e
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, settings.dimension)
        self.mean = neighbour_mean(dataset)
        featured = [m for m in dataset.modalities if m.features is not None]
        self.channels = nn.ModuleDict({m.name: Channel(m, dataset.users, settings, seed) for m in featured})

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return None if cls.reads(card, settings) else "the data set has no features"

    def representations(self) -> tuple[Tensor, Tensor]:
        e = torch.cat([self.user_embedding, self.item_embedding])
        z = torch.stack([channel(self.mean, e) for channel in self.channels.values()]).mean(dim=0)
        z_u, z_i = z.split(self.sizes)
        return z_u, z_i


class Channel(nn.Module):
    """The graph convolution of one modality."""

    features: Tensor

    def __init__(self, modality: Modality, users: int, settings: Settings, seed: int) -> None:
        super().__init__()
        assert modality.features is not None
        name, d, width = modality.name, settings.dimension, modality.features.shape[1]
        self.register_buffer("features", torch.from_numpy(modality.features), persistent=False)
        self.projected = width > settings.latent
        if self.projected:
            self.projection = xavier(seed, f"{name}.projection", width, settings.latent)
            self.projection_bias = nn.Parameter(torch.zeros(settings.latent))
            width = settings.latent
        self.users = xavier(seed, f"{name}.users", users, width)
        self.concatenated = settings.combine == "concatenation"
        self.aggregate, self.own, self.output = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()  # W1, W2, W3
        self.own_bias, self.output_bias = nn.ParameterList(), nn.ParameterList()  # b2, b3
        for layer in range(settings.layers):
            self.aggregate.append(xavier(seed, f"{name}.{layer}.aggregate", width, d))
            self.own.append(xavier(seed, f"{name}.{layer}.own", width, d))
            self.output.append(xavier(seed, f"{name}.{layer}.output", 2 * d if self.concatenated else d, d))
            self.own_bias.append(nn.Parameter(torch.zeros(d)))
            self.output_bias.append(nn.Parameter(torch.zeros(d)))
            width = d

    def forward(self, mean: Graph, e: Tensor) -> Tensor:
        """x^(L) of users and items, from the ID embeddings e: (users + items, d)."""
        items = self.features @ self.projection + self.projection_bias if self.projected else self.features
        x = F.normalize(torch.cat([self.users, items]), dim=1)
        for w1, w2, w3, b2, b3 in zip(
            self.aggregate, self.own, self.output, self.own_bias, self.output_bias, strict=True
        ):
            h = F.leaky_relu(mean @ (x @ w1))
            c = F.leaky_relu(x @ w2 + b2) + e
            x = F.leaky_relu(torch.cat([h, c], dim=1) @ w3 + b3 if self.concatenated else h @ w3 + b3 + c)
        return x


def neighbour_mean(dataset: Dataset) -> Graph:
    """D^-1 A of the training interactions, users first: rows of nodes without edges are empty."""
    matrix = interaction_graph(dataset).matrix()
    degree = np.diff(matrix.indptr)
    matrix.data = np.repeat(1 / degree.clip(min=1), degree)
    return Graph(matrix)
