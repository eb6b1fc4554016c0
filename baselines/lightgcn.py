"""LightGCN: embeddings smoothed over the interaction graph, nothing else.

He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020:

    E^(l+1) = D^-1/2 A D^-1/2 E^(l)   (eq. 7),   z = mean of E^(0) .. E^(L)   (eq. 8, alpha_l = 1 / (L + 1))

Defaults: two layers, as LATTICE's code and the models here that build on LightGCN take; the paper shows one to four.
The weight of the L2 term was looked at on Amazon Baby with one seed, by validation Recall@20: .0769 at 1e-4, .0760 at
1e-3, which is kept for all models on graphs, .0714 at 1e-2; the paper mostly takes 1e-4, on the initial embeddings.

Deviations
1. The L2 term takes the batch's final z instead of the initial embeddings, as all models here do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.graphs import interaction_graph, lightgcn_layers
from tmfun.recommender import PairwiseRecommender
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(2, least=0)
    l2: float = setting(1e-3, least=0, per_run=True)


class LightGCN(PairwiseRecommender):
    title = "LightGCN"
    settings_type = Settings
    stackable = True

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.layers = settings.layers
        self.sizes = [dataset.users, dataset.items]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, settings.dimension)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, settings.dimension)
        self.interactions = interaction_graph(dataset)

    def representations(self) -> tuple[Tensor, Tensor]:
        e = torch.cat([self.user_embedding, self.item_embedding])
        z_u, z_i = lightgcn_layers(self.interactions, e, self.layers).split(self.sizes)
        return z_u, z_i
