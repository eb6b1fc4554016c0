"""FREEDOM: a frozen item-item graph, and a user-item graph that loses most of its edges anew in every epoch.

Zhou and Shen, "A tale of two graphs: freezing and denoising graph structures for multimodal recommendation",
ACM MM 2023:

    A^m = kNN of cosines of the raw features, every kept edge 1, normalised;  A = sum_m alpha_m A^m,  sum alpha = 1
    h   = A^L E_I
    G'  = a share 1 - rho of the training edges, drawn without replacement with p_(u,i) ~ 1 / sqrt(d_u d_i), once an
          epoch, and normalised by its own degrees; for ranking the full graph G
    z_u = g_u,  z_i = g_i + h_i, with g from LightGCN on G' (on G for ranking)
    L   = BPR(z_u, z_i, z_j) + lambda sum_m BPR(z_u, x_i^m W_m, x_j^m W_m)

Defaults are those of the authors' code: k 10, one layer of A, two of LightGCN, alpha 0.1 for images; rho 0.8 and
lambda 1e-3 are one point of its grid (rho 0.8, 0.9; lambda 0, 1e-5, 1e-4, 1e-3).

alpha with other modalities than image and text: the modality called "image" has `image_share`, the others share the
rest equally; all are equal where none, or no other, is called so. With two modalities 0.5 makes them equal.

Deviations
1. The features stay as they are; the authors' code trains them, which the equations do not say.
2. The projections have no bias: BPR takes the difference of two items, in which it cancels.
3. Edges with a cosine of 0 or less are left out, as in all graphs here.
4. A modality with neighbours but no features has its graph, and no term in the loss.
5. An L2 term on the batch's z_u, z_i, z_j, as all models here can have; the paper has none, so its default is 0.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.graphs import Graph, interaction_graph, knn_matrix, lightgcn_layers, modality_neighbours, propagate
from tmfun.recommender import Batch, Recommender, pairwise_loss
from tmfun.settings import setting
from tmfun.streams import numpy_stream, xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    layers: int = setting(2, least=0)  # of LightGCN
    neighbours: int = setting(10, least=1)  # k
    item_layers: int = setting(1, least=0)  # L
    image_share: float = setting(0.1, least=0, most=1)  # alpha of images beside other modalities
    pruned: float = setting(0.8, least=0, most=1)  # rho
    modality_weight: float = setting(1e-3, least=0)  # lambda
    l2: float = setting(0.0, least=0)


class FREEDOM(Recommender):
    title = "FREEDOM"
    settings_type = Settings
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.sizes, d = [dataset.users, dataset.items], settings.dimension
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        self.interactions = self.epoch_interactions = interaction_graph(dataset)  # G, G'
        self.dataset = replace(dataset, modalities=(), validation=dataset.validation[:0], test=dataset.test[:0])
        self.stream = numpy_stream(seed, "edge_pruning")
        graphs = [
            knn_matrix(*modality_neighbours(m, settings.neighbours), edge_weights="binary") for m in dataset.modalities
        ]
        shares = modality_shares([m.name for m in dataset.modalities], settings.image_share)  # alpha
        self.item_graph = Graph(sum(share * graph for share, graph in zip(shares, graphs, strict=True)))  # A
        self.projection = nn.ParameterDict()
        for m in dataset.modalities:
            if m.features is not None and settings.modality_weight:
                self.register_buffer(f"features_{m.name}", torch.from_numpy(m.features), persistent=False)
                self.projection[m.name] = xavier(seed, f"projection.{m.name}", m.features.shape[1], d)  # W

    @classmethod
    def reads(cls, card: Card, settings: Settings) -> list[str]:
        in_graph_only = {m.name for m in card.modalities if m.neighbours is not None and not settings.modality_weight}
        return [name for name in super().reads(card, settings) if name not in in_graph_only]

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return super().unusable(card, settings) or card.too_narrow(settings.neighbours)

    def begin_epoch(self) -> None:
        if self.settings.pruned:
            kept = kept_edges(self.dataset, self.settings.pruned, self.stream)
            pruned = interaction_graph(replace(self.dataset, train=self.dataset.train[kept]))
            self.epoch_interactions = pruned.to(self.user_embedding.device)

    def loss(self, batch: Batch) -> Tensor:
        z_u, z_i = self.representations()
        loss = pairwise_loss(z_u, z_i, batch, self.settings.l2)
        u = F.embedding(batch.users, z_u)  # (B, d)
        for name, weight in self.projection.items():
            x = self.get_buffer(f"features_{name}")
            ahead = (x[batch.positives] - x[batch.negatives]) @ weight  # (B, d)
            loss = loss + self.settings.modality_weight * F.softplus(-(u * ahead).sum(dim=1)).mean()
        return loss

    def representations(self) -> tuple[Tensor, Tensor]:
        e = torch.cat([self.user_embedding, self.item_embedding])
        interactions = self.epoch_interactions if self.training else self.interactions
        g_u, g_i = lightgcn_layers(interactions, e, self.settings.layers).split(self.sizes)
        return g_u, g_i + propagate(self.item_graph, self.item_embedding, self.settings.item_layers)


def modality_shares(names: list[str], image_share: float) -> list[float]:
    """alpha of each modality."""
    others = len(names) - names.count("image")
    if others in (0, len(names)):
        return [1 / len(names)] * len(names)
    return [image_share if name == "image" else (1 - image_share) / others for name in names]


def kept_edges(dataset: Dataset, pruned: float, stream: np.random.Generator) -> np.ndarray:
    """Places in `dataset.train` of the edges that stay, ascending.

    Of exponential times with rates p, the first n are n draws without replacement with probabilities p.
    """
    of_users, of_items = dataset.degrees()
    users, items = dataset.train.T
    times = stream.exponential(size=len(users)) * np.sqrt(of_users[users] * of_items[items])
    count = len(users) - int(pruned * len(users))
    return np.sort(np.argsort(times)[:count])
