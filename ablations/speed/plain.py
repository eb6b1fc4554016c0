"""The same models with parts written the obvious way: what the fast ways here are held against.

    sparse products   torch COO matrices, differentiated by autograd
    LightGCN layers   a stack of layers and its mean
    InfoNCE           two cross-entropies
    TMFUN's step      all items in every batch, features projected and then propagated
    negatives         one draw at a time, until the user does not know the item
    optimiser         Adam, one parameter after the other, one operation after the other (row-adam is written so anyway)
    ranking           user by user, a sort of all items
    nearest items     all cosines at once, sorted

Each computes what its fast counterpart computes, to float tolerance, which a test holds it to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tmfun import graphs, recommender
from tmfun.dataset import Dataset
from tmfun.graphs import Graph, propagate
from tmfun.model import TMFUN
from tmfun.recommender import Batch, Recommender, pairwise_loss
from tmfun.sampling import Sampler
from tmfun.streams import numpy_stream

_coo: WeakKeyDictionary[Graph, Tensor] = WeakKeyDictionary()


@contextmanager
def parts() -> Iterator[None]:
    """Inside `with parts()`, every model is made of the obvious parts."""
    with (
        mock.patch.object(graphs, "_Product", SimpleNamespace(apply=product)),
        mock.patch.object(graphs, "_LayerMean", SimpleNamespace(apply=layer_mean)),
        mock.patch.object(recommender, "_InfoNCE", SimpleNamespace(apply=contrast)),
        mock.patch.object(TMFUN, "loss", tmfun_loss),
        mock.patch.object(TMFUN, "_modality_semantics", modality_semantics),
    ):
        yield


def product(x: Tensor, graph: Graph) -> Tensor:
    """graph @ x."""
    if graph not in _coo:
        matrix = graph.matrix().tocoo()
        places = torch.from_numpy(np.stack(matrix.coords).astype(np.int64))
        values = torch.from_numpy(matrix.data)
        coo = torch.sparse_coo_tensor(places, values, matrix.shape, device=x.device, check_invariants=True)
        _coo[graph] = coo.coalesce()
    return torch.sparse.mm(_coo[graph], x)


def layer_mean(x: Tensor, graph: Graph, layers: int) -> Tensor:
    """`tmfun.graphs.lightgcn_layers`."""
    found = [x]
    for _ in range(layers):
        found.append(graph @ found[-1])
    return torch.stack(found).mean(dim=0)


def contrast(a: Tensor, b: Tensor, weights: None = None) -> tuple[Tensor]:
    """`tmfun.recommender.info_nce` of views that are normalised, one of them divided by the temperature."""
    similar, own = a @ b.T, torch.arange(len(a), device=a.device)
    return ((F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2,)


def tmfun_loss(model: TMFUN, batch: Batch) -> Tensor:
    """(10) of TMFUN on the representations of all items."""
    steps = model.steps()
    loss = pairwise_loss(steps.z_u, steps.z_i, batch, model.settings.l2)
    if model.names and model.settings.contrast:
        items = batch.positives.unique()
        of_items = replace(steps, h={name: h[items] for name, h in steps.h.items()}, f=steps.f[items])
        loss = loss + model.settings.contrast_weight * model.contrast(of_items, items)
    return loss


def modality_semantics(model: TMFUN, name: str, rows: object = None) -> Tensor:
    """(2) and (4) of TMFUN for all items: project, then propagate."""
    h: Tensor = model.item_embedding
    if name in model.projection:
        h = torch.matmul(model.get_buffer(f"features_{name}"), model.projection[name])
    return propagate(model._graph(name), h, model.settings.modality_layers) if model.settings.modality_graph else h


class LoopSampler(Sampler):
    """The sampler, with negatives drawn one by one."""

    def __init__(self, dataset: Dataset, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset, *args, **kwargs)
        self.known: list[set[int]] = [set() for _ in range(dataset.users)]
        for user, item in dataset.train.tolist():
            self.known[user].add(item)

    def negatives(self, users: Tensor) -> Tensor:
        drawn = []
        for user in users.tolist():
            item = int(self.stream.integers(self.items))
            while item in self.known[user]:
                item = int(self.stream.integers(self.items))
            drawn.append(item)
        return torch.tensor(drawn, device=users.device)


@torch.no_grad()
def ranks(model: Recommender, dataset: Dataset, split: str, device: torch.device | str = "cpu") -> NDArray[np.int32]:
    """`tmfun.ranking.Ranking(dataset, split).ranks(model)`."""
    model.eval()
    prepared = model.prepare_scores()
    ties = numpy_stream(0, "ties").permutation(dataset.items)
    seen: list[list[int]] = [[] for _ in range(dataset.users)]
    for user, item in dataset.train.tolist():
        seen[user].append(item)
    result, last = [], None
    for user, item in getattr(dataset, split).tolist():
        if user != last:  # held-out pairs stand user by user
            scores = model.scores(prepared, torch.tensor([user], device=device))[0].cpu().numpy()
            scores[seen[user]] = -np.inf
            best_first, last = ties[np.argsort(-scores[ties], kind="stable")], user
        result.append(int(np.flatnonzero(best_first == item)[0]) + 1)
    return np.array(result, dtype=np.int32)


def nearest(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`tmfun.graphs.nearest`."""
    unit = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosine = unit @ unit.T
    ids = torch.argsort(cosine, dim=1, descending=True)[:, :k]
    return ids, cosine.gather(1, ids)
