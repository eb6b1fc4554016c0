"""GRCN: graph convolution on IDs over an interaction graph whose edges content re-weighs.

Wei et al., "Graph-refined convolutional network for multimedia recommendation with implicit feedback", ACM MM 2020.
In each modality m an item is f_i = N(LeakyReLU(W x_i + b)), a user starts as a free vector p_u of unit norm, and the
user's preference is routed `routing` times to the prototype of the items they chose:

    p_u      <- N( p_u + sum over i in N(u) of softmax_i(p_u . f_i) f_i )           N(v) = v / |v|
    s_iu^m   = softmax of p_u . f_i over the items of u;  s_ui^m = the same over the users of i
    t_u^m    = p_u + sum_i s_iu^m f_i;  t_i^m = f_i + sum_u s_ui^m p_u              content representations

An edge is worth what the most confident modality says of it, with c learned per node and modality, the sender's:

    w_iu     = max over m of c_i^m s_iu^m;  w_ui = max over m of c_u^m s_ui^m       cut at 0 under "hard" pruning
    x^(l+1)_u = sum_i w_iu x^(l)_i;  x^(l+1)_i = sum_u w_ui x^(l)_u;  x^(0) = N(ID embedding)
    z        = [ x^(0) + .. + x^(L), t^1, .., t^M ]

Defaults are those of the authors' code and the runs it documents: three routings, two layers, soft pruning, confidence,
concatenation, 64 dimensions for IDs and for each modality, no edge dropout (published as 0). Their grid: learning rate
1e-4 to 1, weight of the L2 term 1e-5 to 1e-1 (chosen: 1e-4, and 1e-4 to 1e-1 by data set, of a mean over dimensions).
The weight of the L2 term is LightGCN's here.

Deviations
1. Preferences gather the user's items, as the paper says; with its library, the authors' code sends messages from users
   to items only, which leaves preferences at their start.
2. Modalities without features are left out.
3. The L2 term takes the batch's final z_u, z_i, z_j, as all models here do, instead of embeddings and preferences.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.recommender import PairwiseRecommender
from tmfun.settings import setting
from tmfun.streams import xavier

CHUNK = 2048  # edges whose gathered rows are held at a time on a CPU: they stay in its cache


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)  # of the IDs, and of each modality
    routing: int = setting(3, least=0)  # iterations
    layers: int = setting(2, least=0)  # L
    pruning: Literal["soft", "hard"] = "soft"
    l2: float = setting(1e-3, least=0)


class GRCN(PairwiseRecommender):
    title = "GRCN"
    settings_type = Settings
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        d = settings.dimension
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)
        self.edges = Edges(dataset)
        self.names = [m.name for m in dataset.modalities if m.features is not None]
        confidence = xavier(seed, "confidence", dataset.users + dataset.items, len(self.names))  # c
        user_confidence, item_confidence = confidence.detach().split([dataset.users, dataset.items])
        self.user_confidence, self.item_confidence = nn.Parameter(user_confidence), nn.Parameter(item_confidence)
        self.preference, self.projection, self.bias = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for m in dataset.modalities:
            if m.features is not None:
                self.register_buffer(f"features_{m.name}", torch.from_numpy(m.features), persistent=False)
                self.projection[m.name] = xavier(seed, f"projection.{m.name}", m.features.shape[1], d)  # W
                self.bias[m.name] = nn.Parameter(torch.zeros(d))
                self.preference[m.name] = xavier(seed, f"preference.{m.name}", dataset.users, d)  # p

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return None if cls.reads(card, settings) else "the data set has no features"

    def representations(self) -> tuple[Tensor, Tensor]:
        of_users, of_items, to_users, to_items = [], [], [], []
        for name in self.names:
            t_u, t_i, s_iu, s_ui = self._refine(name)
            of_users.append(t_u)
            of_items.append(t_i)
            to_users.append(s_iu)
            to_items.append(s_ui)
        edges = self.edges
        w_iu = (torch.stack(to_users, dim=1) * F.embedding(edges.items, self.item_confidence)).amax(dim=1)
        w_ui = (torch.stack(to_items, dim=1) * F.embedding(edges.users, self.user_confidence)).amax(dim=1)
        if self.settings.pruning == "hard":
            w_iu, w_ui = w_iu.relu(), w_ui.relu()
        x_u, x_i = F.normalize(self.user_embedding, dim=1), F.normalize(self.item_embedding, dim=1)
        sum_u, sum_i = x_u, x_i
        for _ in range(self.settings.layers):
            x_u, x_i = edges.to_users(w_iu, x_i), edges.to_items(w_ui, x_u)
            sum_u, sum_i = sum_u + x_u, sum_i + x_i
        return torch.cat([sum_u, *of_users], dim=1), torch.cat([sum_i, *of_items], dim=1)

    def _refine(self, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of one modality: t_u (users, d), t_i (items, d), s_iu and s_ui (edges,)."""
        edges = self.edges
        f = F.normalize(F.leaky_relu(self.get_buffer(f"features_{name}") @ self.projection[name] + self.bias[name]))
        p = F.normalize(self.preference[name], dim=1)
        for _ in range(self.settings.routing):
            s_iu = edges.shares(edges.similarity(p, f), "users")
            p = F.normalize(p + edges.to_users(s_iu, f), dim=1)
        similarity = edges.similarity(p, f)
        s_iu, s_ui = edges.shares(similarity, "users"), edges.shares(similarity, "items")
        return p + edges.to_users(s_iu, f), f + edges.to_items(s_ui, p), s_iu, s_ui


class Edges(nn.Module):
    """The training interactions as edges with learned weights: an edge e joins users[e] and items[e]."""

    users: Tensor
    items: Tensor

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        users, items = dataset.train.T.astype(np.int64)  # sorted by user
        by_item = np.argsort(items, kind="stable")
        buffers = {"users": users, "items": items, "by_item": by_item, "users_by_item": users[by_item]}
        for side, ids, size in (("users", users, dataset.users), ("items", items, dataset.items)):
            buffers[f"{side}_offsets"] = np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=size))])
        for name, values in buffers.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def shares(self, similarity: Tensor, side: str) -> Tensor:
        """Softmax over the edges of each user, or of each item; similarities are cosines, so exp cannot overflow."""
        nodes, weights = self.get_buffer(side), similarity.exp()
        totals = weights.new_zeros(len(self.get_buffer(f"{side}_offsets")) - 1).index_add(0, nodes, weights)
        return weights / totals.index_select(0, nodes)

    def similarity(self, of_users: Tensor, of_items: Tensor) -> Tensor:
        """The inner product along each edge: (edges,)."""
        return _Similarity.apply(of_users, of_items, self)

    def to_users(self, weights: Tensor, x: Tensor) -> Tensor:
        """For each user, the weighted sum of the items' rows of x."""
        return _WeightedSum.apply(weights, x, self, "users")

    def to_items(self, weights: Tensor, x: Tensor) -> Tensor:
        """For each item, the weighted sum of the users' rows of x."""
        return _WeightedSum.apply(weights, x, self, "items")

    def dot(self, of_users: Tensor, of_items: Tensor) -> Tensor:
        """`similarity` without a gradient."""
        size = len(self.users) if self.users.is_cuda else CHUNK
        pairs = zip(self.users.split(size), self.items.split(size), strict=True)
        return torch.cat([F.embedding(u, of_users).mul_(F.embedding(i, of_items)).sum(dim=1) for u, i in pairs])

    def sum(self, weights: Tensor, x: Tensor, side: str) -> Tensor:
        """`to_users` or `to_items` without a gradient."""
        if side == "items":
            sources, weights = self.get_buffer("users_by_item"), weights[self.get_buffer("by_item")]
        else:
            sources = self.items
        offsets = self.get_buffer(f"{side}_offsets")
        return F.embedding_bag(
            sources, x.contiguous(), offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
        )


class _Similarity(torch.autograd.Function):
    """Written out, as _WeightedSum is, so that the backward pass too runs as embedding bags over sorted edges."""

    @staticmethod
    def forward(ctx: Any, of_users: Tensor, of_items: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(of_users, of_items)
        ctx.edges = edges
        return edges.dot(of_users, of_items)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        of_users, of_items = ctx.saved_tensors
        return ctx.edges.sum(grads[0], of_items, "users"), ctx.edges.sum(grads[0], of_users, "items"), None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, x: Tensor, edges: Edges, side: str) -> Tensor:
        ctx.save_for_backward(weights, x)
        ctx.edges, ctx.side = edges, side
        return edges.sum(weights, x, side)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weights, x = ctx.saved_tensors
        if ctx.side == "users":
            return ctx.edges.dot(grads[0], x), ctx.edges.sum(weights, grads[0], "items"), None, None
        return ctx.edges.dot(x, grads[0]), ctx.edges.sum(weights, grads[0], "users"), None, None
