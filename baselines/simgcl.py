"""SimGCL: LightGCN with a contrast between two views of every node, which differ by random noise alone.

Yu et al., "Are graph augmentations necessary? Simple graph contrastive learning for recommendation", SIGIR 2022. With
A the normalised interaction graph, n uniform noise from [0, 1)^d drawn anew for each node, layer and view:

    E^(l) = A E^(l-1),   z = mean of E^(1) .. E^(L), without E^(0)
    a view, z' or z'': the same with E^(l) + eps * sign(E^(l)) * n / |n| in the place of each E^(l)
    loss = BPR + L2 + lambda * (contrast of the batch's users + contrast of its positive items, each node once)
    contrast = - mean over nodes a of log (exp(s_aa) / sum over nodes b of exp(s_ab)),  s_ab = cos(z'_a, z''_b) / tau

Defaults are those of the authors' code (SELFRec) for Yelp2018: lambda 0.5, eps 0.1, tau 0.2, two layers, L2 1e-4. The
paper's lambda goes from 0.2 to 2 with the data set.

Deviations
1. All three parts of the loss are means over the batch, as in that code, where the paper writes sums.
2. The L2 term takes squared norms of the batch's final z, as all models here do. The paper takes all parameters, that
   code the norms, not squared, of the batch's final users and positive items: its weight means another strength here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tmfun.dataset import Dataset
from tmfun.graphs import interaction_graph
from tmfun.recommender import Batch, PairwiseRecommender, pairwise_loss
from tmfun.settings import setting
from tmfun.streams import key, xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(2, least=1)
    noise: float = setting(0.1, least=0)  # eps
    temperature: float = setting(0.2, above=0)  # tau
    contrast_weight: float = setting(0.5, least=0)  # lambda
    l2: float = setting(1e-4, least=0)


class SimGCL(PairwiseRecommender):
    title = "SimGCL"
    settings_type = Settings

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.sizes = [dataset.users, dataset.items]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, settings.dimension)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, settings.dimension)
        self.interactions = interaction_graph(dataset)
        self.stream = torch.Generator().manual_seed(key(seed, "noise"))

    def representations(self) -> tuple[Tensor, Tensor]:
        z_u, z_i = self._encode(self._first(), noisy=False).split(self.sizes)
        return z_u, z_i

    def loss(self, batch: Batch) -> Tensor:
        first = self._first()
        z_u, z_i = self._encode(first, noisy=False).split(self.sizes)
        one, two = (self._encode(first, noisy=True) for _ in range(2))
        contrast = torch.zeros((), device=first.device)
        for nodes in (batch.users.unique(), self.sizes[0] + batch.positives.unique()):
            contrast = contrast + self._contrast(F.embedding(nodes, one), F.embedding(nodes, two))
        return pairwise_loss(z_u, z_i, batch, self.settings.l2) + self.settings.contrast_weight * contrast

    def _first(self) -> Tensor:
        """E^(1), which all three encoders start from."""
        return self.interactions @ torch.cat([self.user_embedding, self.item_embedding])

    def _encode(self, first: Tensor, noisy: bool) -> Tensor:
        """z, or a view of it, (users + items, d)."""
        e = total = self._perturbed(first) if noisy else first
        for _ in range(self.settings.layers - 1):
            e = self.interactions @ e
            if noisy:
                e = self._perturbed(e)
            total = total + e
        return total / self.settings.layers

    def _perturbed(self, e: Tensor) -> Tensor:
        noise = torch.rand(e.shape, generator=self.stream).to(e.device)  # from the CPU: the same for every device
        return e + self.settings.noise * e.sign() * F.normalize(noise, dim=1)

    def _contrast(self, one: Tensor, two: Tensor) -> Tensor:
        cosines = F.normalize(one, dim=1) @ F.normalize(two, dim=1).T
        return F.cross_entropy(cosines / self.settings.temperature, torch.arange(len(one), device=one.device))
