"""TMFUN, attention-guided multi-step fusion for multimodal recommendation: a reconstruction.

Zhou, Guo, Sun, Song, Yu: "Attention-guided Multi-step Fusion: A Hierarchical Fusion Network for Multimodal
Recommendation", SIGIR 2023. The paper's code was not published and its equations are not known to this project.
What is known is the plan: one graph per modality, one graph over the items, an attention that lets a user-item
interaction weigh the modalities (early step), a second fusion with the item graph (multi-step), and a contrast
between modalities. The equations (1) to (10) below are our reading of that plan (docs/reconstruction.md), and each
choice that the paper leaves open is a switch. Nothing measured with this file is a number of the paper's.

Shapes: U users, I items, M modalities, d dimensions, B interactions in a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset, Modality
from tmfun.graphs import (
    Graph,
    interaction_graph,
    knn_matrix,
    lightgcn_layers,
    modality_neighbours,
    nearest,
    propagate,
)
from tmfun.recommender import (
    LEAST_TEMPERATURE,
    Batch,
    Recommender,
    info_nce,
    once,
    pairwise_loss,
    pairwise_loss_of_rows,
)
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    """The switches and hyper-parameters of TMFUN; the defaults are the variant `full`."""

    modalities: Literal["all"] | tuple[str, ...] = "all"  # which modalities go in; () is ID only
    dimension: int = setting(64, least=1)  # d

    encoder: Literal["lightgcn", "mf"] = "lightgcn"  # (1) graph convolution, or plain embeddings
    layers: int = setting(2, least=0)  # (1) L

    neighbours: int = setting(10, least=1)  # (3) k, the item itself counted
    edge_weights: Literal["cosine", "binary"] = "cosine"  # (3)
    self_loops: bool = True  # (3) keep an item's edge to itself
    modality_graph: bool = True  # (4) off: h = p
    modality_layers: int = setting(1, least=0)  # (4) L_m

    item_graph: Literal["weighted", "concatenated", "off"] = "weighted"  # (5) how modalities make one graph
    item_graph_input: Literal["ids", "features"] = "ids"  # (6) what flows over it
    item_layers: int = setting(1, least=0)  # (6) L_I

    attention: bool = True  # (7), (8) off: equal weights
    attention_query: Literal["interaction", "id", "none"] = "interaction"  # (7), (8) g, e, or a learned vector
    heads: int = setting(1, least=1)  # (7), (8)
    fusion: Literal["multi-step", "single-step"] = "multi-step"  # (8) modalities first, or all at once
    combine: Literal["mean", "sum"] = "mean"  # (8) weights that sum to 1, or to the number of candidates

    contrast: bool = True  # (9)
    contrast_pair: Literal["modality-modality", "modality-fused"] = "modality-modality"  # (9)
    temperature: float = setting(0.5, least=LEAST_TEMPERATURE, per_run=True)  # (9) tau
    contrast_weight: float = setting(0.03, least=0, per_run=True)  # (9) beta

    l2: float = setting(1e-3, least=0, per_run=True)  # (10) lambda


@dataclass(frozen=True)
class Steps:
    """What one forward pass computes, step by step."""

    z_u: Tensor  # (8) final users, (U, d)
    z_i: Tensor  # (8) final items, (I, d)
    h: dict[str, Tensor]  # (4) modality semantics, (I, d) each
    f: Tensor  # (7) early fusion of the modalities, (I, d); in a single step the only fusion
    weights: dict[str, Tensor]  # (7) a, (I, M) and (8) softmax(t), (I, candidates)


class TMFUN(Recommender):
    """The model, its steps in the order of the equations."""

    title = "TMFUN"
    settings_type = Settings
    stackable = True
    numerics = 2
    content = True

    settings: Settings

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        s = settings
        self.users, self.items, d = dataset.users, dataset.items, s.dimension
        modalities = _chosen(dataset, s)
        self.names = [modality.name for modality in modalities]

        # (1) ID embeddings and the interaction graph
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)  # E_U
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)  # E_I
        if s.encoder == "lightgcn":
            self.interactions = interaction_graph(dataset)
        if not modalities:
            return  # ID only: LightGCN, number for number

        # (3) one frozen graph per modality
        self.modality_graphs = nn.ModuleDict()
        if s.modality_graph or s.item_graph == "weighted":
            for m in modalities:
                self.modality_graphs[m.name] = _knn_graph(*modality_neighbours(m, s.neighbours), s)

        # (2) projections. The graph of (4) is frozen and (2) is affine, so that A (x W + 1 b) = (A [x 1]) [W; b]:
        # features are propagated here, once, with a column of ones, and projected in every step.
        self.projection = nn.ParameterDict()
        for m in modalities:
            if m.features is None:
                continue
            x1 = F.pad(torch.from_numpy(m.features), (0, 1), value=1.0)  # [x 1], (I, width + 1)
            smooth = propagate(self._graph(m.name), x1, s.modality_layers) if s.modality_graph else x1
            self.register_buffer(f"features_{m.name}", x1, persistent=False)
            self.register_buffer(f"smooth_features_{m.name}", smooth, persistent=False)
            weight = xavier(seed, f"projection.{m.name}", m.features.shape[1], d)  # W, (width, d)
            self.projection[m.name] = nn.Parameter(F.pad(weight.detach(), (0, 0, 0, 1)))  # [W; b], b = 0 at first

        # (5) the item graph
        if s.item_graph == "weighted":
            self.graph_logits = nn.Parameter(torch.zeros(len(modalities)))  # w
        elif s.item_graph == "concatenated":
            featured = [torch.from_numpy(m.features) for m in modalities if m.features is not None]
            joined = torch.cat([F.normalize(x, dim=1) for x in featured], dim=1)
            ids, cosines = nearest(joined, min(s.neighbours, dataset.items))
            self.item_graph = _knn_graph(ids.numpy(), cosines.numpy(), s)

        # (7), (8) the two attentions
        if s.fusion == "multi-step":
            self.early = Attention(s, seed, "early")
        self.late = Attention(s, seed, "late")

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        if settings.dimension % settings.heads:
            return f"{settings.heads} heads do not divide {settings.dimension} dimensions"
        known = {modality.name: modality for modality in card.modalities}
        if settings.modalities == "all" and not known:
            return "the data set has no modalities (only ID only can run)"
        chosen = list(known) if settings.modalities == "all" else settings.modalities
        absent = [name for name in chosen if name not in known]
        if absent:
            return f"the data set has no modality '{absent[0]}'"
        if len(set(chosen)) < len(chosen):
            return "a modality is named twice"
        if chosen and settings.item_graph == "concatenated" and all(known[name].width is None for name in chosen):
            return "a concatenated item graph needs features"
        if settings.modality_graph or settings.item_graph == "weighted":
            return card.too_narrow(settings.neighbours, chosen)
        return None

    @classmethod
    def reads(cls, card: Card, settings: Settings) -> list[str]:
        chosen = settings.modalities
        return [name for name in super().reads(card, settings) if chosen == "all" or name in chosen]

    def steps(self, items: Tensor | None = None) -> Steps:
        """The forward pass, from the embeddings to the final representations of all items, or of `items` (n,).

        Past the graphs each item is computed on its own, so a batch asks for its own items only: I is then n.
        """
        s = self.settings

        def rows(x: Tensor) -> Tensor:
            return x if items is None else F.embedding(items, x)

        # (1) interaction encoder
        e = torch.cat([self.user_embedding, self.item_embedding])  # (U + I, d)
        g = lightgcn_layers(self.interactions, e, s.layers) if s.encoder == "lightgcn" else e
        g_u, g_i = g.split([self.users, self.items])
        g_i = rows(g_i)
        if not self.names:
            return Steps(g_u, g_i, {}, g_i, {})

        # (2)-(4) modality semantics: h = A^L_m p
        h = {name: self._modality_semantics(name, rows) for name in self.names}

        # (7) early step: an interaction weighs the modalities
        weights = {}
        query = rows(self.item_embedding) if s.attention_query == "id" else g_i
        if s.fusion == "multi-step":
            f, weights["early"] = self.early(query, list(h.values()))
            candidates = [f]
        else:
            candidates = list(h.values())

        # (5), (6) item semantics: h^I = (A^I)^L_I E_I
        if s.item_graph != "off":
            h_item = self.item_embedding if s.item_graph_input == "ids" else self._mean_projection()
            for _ in range(s.item_layers):
                h_item = self._item_product(h_item)
            candidates.append(rows(h_item))

        # (8) late step: r fuses f and h^I (or, in a single step, all h and h^I), and joins the interaction encoding
        r, weights["late"] = self.late(query, [F.normalize(c, dim=1) for c in candidates])
        if s.combine == "sum":
            r = r * len(candidates)
        return Steps(g_u, g_i + r, h, f if s.fusion == "multi-step" else r, weights)

    def loss(self, batch: Batch) -> Tensor:
        """(10): BPR, plus beta times the contrast (9), plus L2 on the batch's final representations."""
        s = self.settings
        if not self.names:
            return pairwise_loss(*self.representations(), batch, s.l2)
        steps = self.steps(torch.cat([batch.positives, batch.negatives]))
        z_i, z_j = steps.z_i.chunk(2)
        loss = pairwise_loss_of_rows(F.embedding(batch.users, steps.z_u), z_i, z_j, s.l2)
        if s.contrast:
            loss = loss + s.contrast_weight * self.contrast(steps, batch.positives)
        return loss

    def contrast(self, steps: Steps, items: Tensor) -> Tensor:
        """(9): the mean of InfoNCE over all pairs of views of `items` (n,), each item once; 0 with one modality.

        The items are the first ones that the steps were computed for.
        """
        if len(steps.h) < 2:  # nothing to align
            return steps.z_i.new_zeros(())
        keep, weights = once(items), None
        if self.static_shapes or items.is_cuda:  # how many there are, a GPU would have to be waited for to say
            rows, weights = torch.arange(len(items), device=items.device), keep.to(steps.z_i.dtype)
        else:
            rows = keep.nonzero().squeeze(1)
        views = [F.embedding(rows, h) for h in steps.h.values()]
        if self.settings.contrast_pair == "modality-fused":
            pairs = [(view, F.embedding(rows, steps.f)) for view in views]
        else:
            pairs = list(combinations(views, 2))
        return torch.stack([info_nce(a, b, self.settings.temperature, weights) for a, b in pairs]).mean()

    def representations(self) -> tuple[Tensor, Tensor]:
        steps = self.steps()
        return steps.z_u, steps.z_i

    def weights_of_interest(self) -> dict[str, Tensor]:
        """The attention weights of (7), "early" (I, M), and of (8), "late" (I, candidates), in the steps' order."""
        return self.steps().weights if self.settings.attention else {}

    def _modality_semantics(self, name: str, rows: Callable[[Tensor], Tensor]) -> Tensor:
        """(4) h of one modality, (I, d); without features it is the item embedding that is propagated."""
        s = self.settings
        if name in self.projection:
            return rows(self.get_buffer(f"smooth_features_{name}")) @ self.projection[name]
        if not s.modality_graph:
            return rows(self.item_embedding)
        return rows(propagate(self._graph(name), self.item_embedding, s.modality_layers))

    def _graph(self, name: str) -> Graph:
        """(3) A of one modality."""
        return cast(Graph, self.modality_graphs[name])

    def _mean_projection(self) -> Tensor:
        """The mean over modalities of (2) p, (I, d)."""
        featured = [self.get_buffer(f"features_{name}") @ weights for name, weights in self.projection.items()]
        without = [self.item_embedding] * (len(self.names) - len(featured))
        return torch.stack(featured + without).mean(dim=0)

    def _item_product(self, x: Tensor) -> Tensor:
        """(5) A^I x, where A^I = sum_m softmax(w)_m A^m is never formed."""
        if self.settings.item_graph == "concatenated":
            return propagate(self.item_graph, x)
        shares = self.graph_logits.softmax(dim=0)  # (M,)
        products = [share * propagate(self._graph(name), x) for share, name in zip(shares, self.names, strict=True)]
        return torch.stack(products).sum(dim=0)


class Attention(nn.Module):
    """Each item's query weighs the item's own candidates: softmax over c of (W_q query) . (W_k c) / sqrt(d)."""

    def __init__(self, settings: Settings, seed: int, name: str) -> None:
        super().__init__()
        self.settings = settings
        d = settings.dimension
        if settings.attention:
            self.key = xavier(seed, f"{name}.key", d, d)  # W_k
            free = settings.attention_query == "none"
            self.query = xavier(seed, f"{name}.query", 1 if free else d, d)  # a learned vector, or W_q

    def forward(self, query: Tensor, candidates: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of query (I, d) and C candidates (I, d): the weighted mean (I, d), the weights (I, C) averaged over heads."""
        s, count = self.settings, len(candidates)
        if not s.attention:
            return torch.stack(candidates).mean(dim=0), query.new_full((len(query), count), 1 / count)
        heads = (s.heads, s.dimension // s.heads)
        # W_k moves to the query's side, (W_q g) . (W_k c) = ((W_k^T W_q) g) . c, so that no keys are formed
        both = torch.einsum("dhk,ehk->dhe", self.query.unflatten(1, heads), self.key.unflatten(1, heads))  # (d, H, d)
        q = both if s.attention_query == "none" else (query @ both.flatten(1)).unflatten(1, (s.heads, s.dimension))
        scores = torch.stack([(q * c.unsqueeze(1)).sum(dim=2) for c in candidates], dim=2) / heads[1] ** 0.5
        weights = scores.softmax(dim=2)  # (I, H, C)
        parts = zip(weights.unsqueeze(3).unbind(dim=2), candidates, strict=True)
        fused = torch.stack([weight * c.unflatten(1, heads) for weight, c in parts]).sum(dim=0).flatten(1)  # (I, d)
        return fused, weights.mean(dim=1)


def _chosen(dataset: Dataset, settings: Settings) -> list[Modality]:
    if settings.modalities == "all":
        return list(dataset.modalities)
    return [dataset.modality(name) for name in settings.modalities]


def _knn_graph(neighbours: np.ndarray, cosine: np.ndarray, settings: Settings) -> Graph:
    matrix = knn_matrix(neighbours, cosine, edge_weights=settings.edge_weights, self_loops=settings.self_loops)
    return Graph(matrix)
