"""Latent item graphs, the ground that LATTICE and MICRO share: one per modality, part frozen, part learned.

Zhang et al., "Mining latent structures for multimedia recommendation", ACM MM 2021:

    S^m     = kNN of cosines of the raw features, normalised            (eqs. 1-3), frozen
    S~^m    = the same of the projected features x W_m + b_m            (eqs. 4-5), rebuilt once an epoch
    A^m     = lambda S^m + (1 - lambda) S~^m                            (eq. 5)

Defaults are those of the authors' code: lambda 0.9, k 10, one layer of A, two of LightGCN, d 64. The weight of the L2
term is LightGCN's here; that code has 1e-5.

Deviations
1. The learned graph is exact top-k found in chunks of rows, never an items x items matrix; the gradient, which only
   kept entries carry, is the same.
2. Gradients reach W_m in the first batch of an epoch alone, as in the authors' code, where the graph is detached after.
3. For ranking, the learned graph is rebuilt from the current parameters.
4. A modality with neighbours but no features has no learned graph: its A^m is S^m.
5. Cosines of the learned graph are clipped at 0, as those of the frozen one are.
6. The features stay as they are; LATTICE's code trains them, which the equations do not say.
7. The interactions are normalised as LightGCN's are, D^-1/2 A D^-1/2; LATTICE's code has D^-1 (A + I).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.graphs import Graph, interaction_graph, knn_matrix, lightgcn_layers, modality_neighbours, nearest
from tmfun.recommender import PairwiseRecommender
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class LatentGraphSettings:
    dimension: int = setting(64, least=1)
    layers: int = setting(2, least=0)  # of LightGCN
    neighbours: int = setting(10, least=1)  # k
    item_layers: int = setting(1, least=0)  # L
    kept: float = setting(0.9, least=0, most=1)  # lambda, the share of the frozen graph
    l2: float = setting(1e-3, least=0)


class LatentGraphRecommender(PairwiseRecommender):
    """A recommender that smooths item embeddings over A^m beside a LightGCN over the interactions."""

    content = True

    settings: LatentGraphSettings

    def __init__(self, dataset: Dataset, settings: LatentGraphSettings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.sizes = [dataset.users, dataset.items]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, settings.dimension)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, settings.dimension)
        self.interactions = interaction_graph(dataset)
        self.names = [modality.name for modality in dataset.modalities]
        self.frozen, self.projection, self.bias = nn.ModuleDict(), nn.ParameterDict(), nn.ParameterDict()
        for m in dataset.modalities:
            self.frozen[m.name] = Graph(knn_matrix(*modality_neighbours(m, settings.neighbours)))  # S^m
            if m.features is not None:
                self.register_buffer(f"features_{m.name}", torch.from_numpy(m.features), persistent=False)
                width = m.features.shape[1]
                self.projection[m.name] = xavier(seed, f"projection.{m.name}", width, settings.dimension)
                self.bias[m.name] = nn.Parameter(torch.zeros(settings.dimension))
        self.fused: dict[str, Graph] | None = None  # A^m, once this epoch's graphs are built

    @classmethod
    def unusable(cls, card: Card, settings: LatentGraphSettings) -> str | None:
        return super().unusable(card, settings) or card.too_narrow(settings.neighbours)

    def begin_epoch(self) -> None:
        self.fused = None

    def encode_interactions(self) -> tuple[Tensor, Tensor]:
        """g_u and g_i, from LightGCN."""
        e = torch.cat([self.user_embedding, self.item_embedding])
        g_u, g_i = lightgcn_layers(self.interactions, e, self.settings.layers).split(self.sizes)
        return g_u, g_i

    def product(self) -> Callable[[str, Tensor], Tensor]:
        """x -> A^m x: with gradients to W_m in an epoch's first batch, through the graphs of that batch afterwards."""
        if self.training and self.fused is not None:
            fused = self.fused
            return lambda name, x: fused[name] @ x
        edges = self.learned_edges()
        fused = self._fuse(edges)
        if not self.training:
            return lambda name, x: fused[name] @ x
        self.fused = fused
        kept, frozen = self.settings.kept, self._frozen()

        def product(name: str, x: Tensor) -> Tensor:
            if name not in edges:
                return frozen[name] @ x
            ids, weights = edges[name]
            learned = (weights.unsqueeze(2) * F.embedding(ids, x)).sum(dim=1)
            return kept * (frozen[name] @ x) + (1 - kept) * learned

        return product

    def learned_edges(self) -> dict[str, tuple[Tensor, Tensor]]:
        """S~^m of each modality with features: neighbour ids and normalised weights, (items, k) each."""
        edges = {}
        for name in self.projection:
            unit = F.normalize(self.get_buffer(f"features_{name}") @ self.projection[name] + self.bias[name], dim=1)
            with torch.no_grad():
                ids, _ = nearest(unit, min(self.settings.neighbours, len(unit)))
            cosine = (unit.unsqueeze(1) * F.embedding(ids, unit)).sum(dim=2).relu()
            degree = cosine.sum(dim=1)
            scale = torch.where(degree > 0, degree, 1.0).rsqrt() * (degree > 0)
            edges[name] = ids, cosine * scale.unsqueeze(1) * scale[ids]
        return edges

    def _frozen(self) -> dict[str, Graph]:
        """S^m of each modality."""
        return {name: cast(Graph, graph) for name, graph in self.frozen.items()}

    @torch.no_grad()
    def _fuse(self, edges: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Graph]:
        """A^m = lambda S^m + (1 - lambda) S~^m as frozen graphs."""
        fused = {}
        for name, frozen in self._frozen().items():
            matrix = frozen.matrix()
            if name in edges:
                ids, weights = (part.cpu().numpy() for part in edges[name])
                rows = np.repeat(np.arange(len(ids)), ids.shape[1])
                learned = sp.csr_array((weights.ravel(), (rows, ids.ravel())), shape=matrix.shape)
                matrix = self.settings.kept * matrix + (1 - self.settings.kept) * learned
            fused[name] = Graph(matrix).to(self.item_embedding.device)
        return fused
