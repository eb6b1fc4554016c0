"""LATTICE: an item-item graph mined from content, part of it learned, under a collaborative filter.

Zhang et al., "Mining latent structures for multimedia recommendation", ACM MM 2021:

    A^m     = lambda S^m + (1 - lambda) S~^m                            (eqs. 1-5), see baselines/latent_graph.py
    A       = sum_m softmax(w)_m A^m                                    (eqs. 6-7)
    h       = A^L E_I                                                   (eq. 8)
    z_i     = g_i + h_i / |h_i|,  z_u = g_u, with g from LightGCN       (eq. 9)

Defaults are those of baselines/latent_graph.py.

Deviations
1. Those of baselines/latent_graph.py, on the learned graph S~^m, the features and the interactions.
2. Every S~^m is normalised on its own, as the equations say; the authors' code normalises their weighted sum.
3. w is trained in every batch; in the authors' code in the first one of an epoch, as W_m is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.latent_graph import LatentGraphRecommender, LatentGraphSettings
from tmfun.dataset import Dataset


@dataclass(frozen=True)
class Settings(LatentGraphSettings):
    """Those of the latent graphs."""


class LATTICE(LatentGraphRecommender):
    title = "LATTICE"
    settings_type = Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.graph_logits = nn.Parameter(torch.zeros(len(self.names)))  # w

    def representations(self) -> tuple[Tensor, Tensor]:
        g_u, g_i = self.encode_interactions()
        product = self.product()
        shares = self.graph_logits.softmax(dim=0)
        h: Tensor = self.item_embedding
        for _ in range(self.settings.item_layers):
            parts = [share * product(name, h) for share, name in zip(shares, self.names, strict=True)]
            h = torch.stack(parts).sum(dim=0)
        return g_u, g_i + F.normalize(h, dim=1)
