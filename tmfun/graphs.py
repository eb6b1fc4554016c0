"""Graphs over users and items, as sparse matrices, and the one product that every model is made of.

Nothing here ever holds items x items numbers: neighbours are found in chunks of rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Dataset, Modality
from tmfun.errors import InputError

CHUNK = 1024  # rows of a similarity matrix held at a time
CELLS = 2**26  # numbers of it, whatever the rows


class Graph(nn.Module):
    """A frozen sparse matrix (rows, columns) that multiplies dense ones: `graph @ x`, differentiable in x.

    The product runs as an embedding bag: each row sums the weighted rows of x that it points to. Of the ways
    torch and scipy offer, this one measured fastest on CPUs, and it adds in a fixed order on every device. The
    backward pass is the same product with the transposed matrix.
    """

    def __init__(self, matrix: sp.sparray) -> None:
        super().__init__()
        forward = _sorted_csr(matrix)
        backward = _sorted_csr(forward.T)
        self.shape = forward.shape
        for name, csr in (("forward", forward), ("backward", backward)):
            self.register_buffer(f"{name}_columns", torch.from_numpy(csr.indices.astype(np.int32)), persistent=False)
            self.register_buffer(f"{name}_offsets", torch.from_numpy(csr.indptr.astype(np.int32)), persistent=False)
            self.register_buffer(f"{name}_weights", torch.from_numpy(csr.data.astype(np.float32)), persistent=False)

    def __matmul__(self, x: Tensor) -> Tensor:  # (rows, columns) @ (columns, d) -> (rows, d)
        return _Product.apply(x, self)

    def times(self, x: Tensor, direction: str = "forward") -> Tensor:
        """The product, or with direction "backward" the transposed one, without a gradient."""
        columns, offsets, weights = (
            self.get_buffer(f"{direction}_{part}") for part in ("columns", "offsets", "weights")
        )
        return F.embedding_bag(
            columns,
            x.contiguous(),
            offsets,
            mode="sum",
            per_sample_weights=weights.to(x.dtype),
            include_last_offset=True,
        )

    def matrix(self) -> sp.csr_array:
        """The matrix itself, for inspection."""
        parts = (self.get_buffer(f"forward_{part}").cpu().numpy() for part in ("weights", "columns", "offsets"))
        return sp.csr_array(tuple(parts), shape=self.shape)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, graph: Graph) -> Tensor:
        return graph.times(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.graph.times(grads[0], "backward"), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, graph: Graph) -> tuple[Tensor, int]:
        return _wide(x, in_dims[0], lambda wide: _Product.apply(wide, graph))


def _wide(x: Tensor, stacked: int | None, product: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
    """Many products with one graph as one: S stacked x (n, d) side by side, (n, S d)."""
    assert stacked is not None
    x = x.movedim(stacked, 1)  # (n, S, d)
    return product(x.flatten(1)).unflatten(1, x.shape[1:]), 1


def propagate(graph: Graph, x: Tensor, layers: int = 1) -> Tensor:
    """graph^layers @ x."""
    for _ in range(layers):
        x = _Product.apply(x, graph)  # graph @ x, which torch.compile does not see through
    return x


def lightgcn_layers(graph: Graph, x: Tensor, layers: int) -> Tensor:
    """The mean of x, graph @ x, ..., graph^layers @ x (LightGCN, He et al. 2020, eq. 8 with equal weights)."""
    return _LayerMean.apply(x, graph, layers)


class _LayerMean(torch.autograd.Function):
    """Written out because sums in place spare a training step half of its passes over users x d numbers."""

    @staticmethod
    def forward(x: Tensor, graph: Graph, layers: int) -> Tensor:
        total = x.clone()
        for _ in range(layers):
            x = graph.times(x)
            total += x
        return total.div_(layers + 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.graph, ctx.layers = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        own = grads[0] / (ctx.layers + 1)
        total = own
        for _ in range(ctx.layers):
            total = ctx.graph.times(total, "backward").add_(own)
        return total, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, graph: Graph, layers: int) -> tuple[Tensor, int]:
        return _wide(x, in_dims[0], lambda wide: _LayerMean.apply(wide, graph, layers))


def interaction_graph(dataset: Dataset) -> Graph:
    """D^-1/2 A D^-1/2 of the training interactions; users come first, then items: (users + items) squared."""
    users, items = dataset.train[:, 0], dataset.train[:, 1] + dataset.users
    size = dataset.users + dataset.items
    rows, columns = np.concatenate([users, items]), np.concatenate([items, users])
    adjacency = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    return Graph(normalised(adjacency))


def normalised(matrix: sp.sparray) -> sp.csr_array:
    """D^-1/2 A D^-1/2 with D the row sums; rows that sum to 0 get 0."""
    sums = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    scale = np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
    return sp.csr_array(sp.diags_array(scale) @ matrix @ sp.diags_array(scale))


@torch.no_grad()
def nearest(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k items with the largest cosine to each item, itself counted, nearest first: ids and cosines, (items, k).

    Exact; holds CHUNK x items numbers at a time, and CELLS at most. A zero row has cosine 0 to every item.
    """
    unit = F.normalize(features, dim=1)
    items = len(unit)
    ids = torch.empty((items, k), dtype=torch.int64, device=unit.device)
    cosines = unit.new_empty((items, k))
    # One buffer for all chunks: between blocks of that size, small results would keep the heap from closing.
    buffer = unit.new_empty((min(CHUNK, max(1, CELLS // items), items), items))
    for rows, *found in zip(*(x.split(len(buffer)) for x in (unit, cosines, ids)), strict=True):
        torch.topk(torch.mm(rows, unit.T, out=buffer[: len(rows)]), k, dim=1, out=found)
    return ids, cosines


def knn_matrix(
    neighbours: NDArray, cosine: NDArray, *, edge_weights: str = "cosine", self_loops: bool = True
) -> sp.csr_array:
    """The normalised kNN graph (items, items) from neighbour ids and cosines of shape (items, k).

    Cosines are clipped at 0, and edges of weight 0 left out; `edge_weights` "binary" sets the others to 1;
    without `self_loops` an item's edge to itself is left out. Not symmetrised.
    """
    items, k = neighbours.shape
    rows = np.repeat(np.arange(items), k)
    columns = neighbours.ravel()
    weights = cosine.ravel().clip(min=0).astype(np.float64)
    kept = weights > 0
    if not self_loops:
        kept &= rows != columns
    if edge_weights == "binary":
        weights = np.ones_like(weights)
    return normalised(sp.csr_array((weights[kept], (rows[kept], columns[kept])), shape=(items, items)))


def modality_neighbours(modality: Modality, k: int) -> tuple[NDArray, NDArray]:
    """The k nearest neighbours of every item in one modality: ids and cosines, (items, k).

    A neighbours file, where there is one, is used; else they are computed from the features.
    """
    if modality.neighbours is not None and modality.cosine is not None:
        if k > modality.neighbours.shape[1]:
            raise InputError(
                f"{k} neighbours wanted, but the neighbours file of '{modality.name}' holds"
                f" {modality.neighbours.shape[1]} per item; lower `neighbours` or remove the file"
            )
        return modality.neighbours[:, :k], modality.cosine[:, :k]
    assert modality.features is not None
    ids, cosines = nearest(torch.from_numpy(modality.features), min(k, len(modality.features)))
    return ids.numpy(), cosines.numpy()


def _sorted_csr(matrix: sp.sparray) -> sp.csr_array:
    csr = sp.csr_array(matrix)
    csr.sum_duplicates()
    csr.sort_indices()
    return csr
