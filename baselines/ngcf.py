"""NGCF: graph convolution with a weight matrix per layer, and messages that depend on how alike both ends are.

Wang et al., "Neural graph collaborative filtering", SIGIR 2019. With L = D^-1/2 A D^-1/2 of the interaction graph:

    m(u <- i) = (W_1 e_i + W_2 (e_i * e_u)) / sqrt(|N_u| |N_i|),   m(u <- u) = W_1 e_u     (eqs. 3-6)
    E^(l) = LeakyReLU((L + I) E^(l-1) W_1^(l) + (L E^(l-1) * E^(l-1)) W_2^(l))             (eqs. 7-8)
    z = E^(0) | E^(1) | .. | E^(L),   score(u, i) = z_u . z_i,   loss = BPR + L2           (eqs. 9-11)

Defaults: three layers and a message dropout of 0.1, without node dropout, are the paper's; from the authors' code are
the slope of LeakyReLU, the dropout on a layer's output instead of on each message, and that each layer enters z
normalised to unit length. The weight of the L2 term is LightGCN's here; that code has 1e-5.

Deviations
1. All layers are as wide as the embedding, as in the paper's experiments.
2. No biases, and LeakyReLU of the sum: the code has biases and takes LeakyReLU of either product, the equations do not.
3. The L2 term takes the batch's final z, as in the authors' code and all models here.
4. L is that of the equations; the authors' code has D^-1 (A + I) for its L, and no second I, in both products.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Dataset
from tmfun.graphs import interaction_graph
from tmfun.recommender import Batch, PairwiseRecommender, pairwise_loss_of_rows
from tmfun.settings import setting
from tmfun.streams import key, xavier

SLOPE = 0.2  # of LeakyReLU below 0


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(3, least=0)
    dropout: float = setting(0.1, least=0, most=0.99)  # of messages
    l2: float = setting(1e-3, least=0)


class NGCF(PairwiseRecommender):
    title = "NGCF"
    settings_type = Settings
    numerics = 2

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.dropout = settings.dropout
        self.sizes = [dataset.users, dataset.items]
        d = settings.dimension
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        layers = range(settings.layers)
        self.message = nn.ParameterList(xavier(seed, f"message.{layer}", d, d) for layer in layers)  # W_1
        self.affinity = nn.ParameterList(xavier(seed, f"affinity.{layer}", d, d) for layer in layers)  # W_2
        self.interactions = interaction_graph(dataset)
        self.stream = torch.Generator().manual_seed(key(seed, "dropout"))

    def loss(self, batch: Batch) -> Tensor:
        users = self.sizes[0]
        nodes = torch.cat([batch.users, users + batch.positives, users + batch.negatives])
        nodes, places = nodes.unique(return_inverse=True)
        u, i, j = F.embedding(places, self._z(nodes)).chunk(3)
        return pairwise_loss_of_rows(u, i, j, self.settings.l2)

    def representations(self) -> tuple[Tensor, Tensor]:
        z_u, z_i = self._z().split(self.sizes)
        return z_u, z_i

    def _z(self, nodes: Tensor | None = None) -> Tensor:
        """z of all users and items, or of `nodes` (n,), (n, (L + 1) d): other nodes have no last layer then."""

        def rows(x: Tensor) -> Tensor:
            return x if nodes is None else F.embedding(nodes, x)

        e = torch.cat([self.user_embedding, self.item_embedding])
        z = [rows(e)]
        for layer, (message, affinity) in enumerate(zip(self.message, self.affinity, strict=True), start=1):
            around = self.interactions @ e  # L E
            last = layer == len(self.message)
            if last:
                around, e = rows(around), rows(e)
            e = F.leaky_relu(torch.addmm((around * e) @ affinity, around + e, message), SLOPE, inplace=True)
            if self.training and self.dropout:
                e = e * self._mask(e)
            z.append(F.normalize(e if last else rows(e), dim=1))
        return torch.cat(z, dim=1)

    def _mask(self, e: Tensor) -> Tensor:
        """0 with the probability of dropout, else what keeps the mean; drawn on the CPU, the same for every device."""
        kept = torch.rand(e.shape, generator=self.stream) >= self.dropout
        return kept.to(e.device) / (1 - self.dropout)
