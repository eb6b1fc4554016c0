"""MICRO: latent item graphs as in LATTICE, fused item by item, and a contrast of the fusion with each modality.

Zhang et al., "Latent structure mining with contrastive modality fusion for multimedia recommendation", TKDE 2022:

    A^m     = lambda S^m + (1 - lambda) S~^m, as in LATTICE             see baselines/latent_graph.py
    h^m     = (A^m)^L E_I                                               modality-aware item embeddings
    a_i     = softmax over m of q . tanh(W h_i^m + b),  h_i = sum_m a_i^m h_i^m
    z_i     = g_i + h_i / |h_i|,  z_u = g_u, with g from LightGCN

    loss    = BPR + L2 + beta sum_m mean over i of -ln( e(h_i^m, h_i) / (e(h_i^m, h_i) + others_i) )
    others_i = sum over j != i of e(h_i^m, h_j) + e(h_i^m, h_j^m),  e(x, y) = exp(cos(x, y) / tau)

Defaults are those of baselines/latent_graph.py and, from the authors' code, tau 0.5 and beta 0.03 (its argument
`loss_ratio`). It trains with an L2 weight of 1e-5 at a learning rate of 5e-4; no grid is published there.

Deviations
1. Those of baselines/latent_graph.py, on the learned graph S~^m, the features and the interactions.
2. The contrast runs over the batch's positive items, each once, instead of all items: i and j above are among them.

With one modality a_i = 1 and h = h^m: the contrast then only spreads the items apart.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.latent_graph import LatentGraphRecommender, LatentGraphSettings
from tmfun.dataset import Dataset
from tmfun.recommender import LEAST_TEMPERATURE, Batch, pairwise_loss
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings(LatentGraphSettings):
    temperature: float = setting(0.5, least=LEAST_TEMPERATURE)  # tau
    contrast_weight: float = setting(0.03, least=0)  # beta


class MICRO(LatentGraphRecommender):
    title = "MICRO"
    settings_type = Settings

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        d = settings.dimension
        self.attention = xavier(seed, "attention", d, d)  # W
        self.attention_bias = nn.Parameter(torch.zeros(d))  # b
        self.query = xavier(seed, "query", d, 1)  # q

    def loss(self, batch: Batch) -> Tensor:
        z_u, z_i, views, h, _ = self._steps()
        loss = pairwise_loss(z_u, z_i, batch, self.settings.l2)
        if self.settings.contrast_weight:
            items = batch.positives.unique()
            fused = F.embedding(items, h)
            contrasts = [contrast(F.embedding(items, view), fused, self.settings.temperature) for view in views]
            loss = loss + self.settings.contrast_weight * torch.stack(contrasts).sum()
        return loss

    def representations(self) -> tuple[Tensor, Tensor]:
        z_u, z_i, *_ = self._steps()
        return z_u, z_i

    def weights_of_interest(self) -> dict[str, Tensor]:
        """The attention weights a, (items, modalities)."""
        return {"modalities": self._steps()[-1]}

    def _steps(self) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor]:
        """z_u, z_i, the h^m, h and the attention weights a."""
        g_u, g_i = self.encode_interactions()
        product = self.product()
        views = []
        for name in self.names:
            view: Tensor = self.item_embedding
            for _ in range(self.settings.item_layers):
                view = product(name, view)
            views.append(view)
        logits = [(view @ self.attention + self.attention_bias).tanh() @ self.query for view in views]
        weights = torch.cat(logits, dim=1).softmax(dim=1)  # (items, modalities)
        h = (weights.unsqueeze(2) * torch.stack(views, dim=1)).sum(dim=1)
        return g_u, g_i + F.normalize(h, dim=1), views, h, weights


def contrast(view: Tensor, fused: Tensor, temperature: float) -> Tensor:
    """The mean over rows (n, d) of -ln of a pair's share among all pairings of the view's row, within and across."""
    return _Contrast.apply(F.normalize(view, dim=1), F.normalize(fused, dim=1), temperature)


class _Contrast(torch.autograd.Function):
    """Written out, as tmfun.recommender.info_nce is, because its n x n matrices are what a step would spend time on."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, temperature: float) -> Tensor:
        across = (a @ b.T).sub_(1).div_(temperature)  # (n, n), shifted by the largest a cosine allows
        matched = across.diagonal().mean()
        across.exp_()
        within = (a @ a.T).sub_(1).div_(temperature).exp_().fill_diagonal_(0)
        totals = across.sum(dim=1) + within.sum(dim=1)
        ctx.save_for_backward(a, b, across, within, totals)
        ctx.temperature = temperature
        return totals.log().mean() - matched

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, across, within, totals = ctx.saved_tensors
        scale = grads[0] / (len(a) * ctx.temperature)
        share = (scale / totals).unsqueeze(1)
        across, within = across * share, within * share
        across.diagonal().sub_(scale)
        return across @ b + within @ a + within.T @ a, across.T @ a, None
