"""Directed kNN edges between items, and how two such graphs lie on each other when one is moved along the ids."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tmfun.dataset import Modality
from tmfun.graphs import modality_neighbours

K = 10  # neighbours of an item, itself counted, where no file says otherwise
PAIRS = 2**22  # pairs of entries looked at at a time


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges i -> j of a graph over `items` items, int64 each (edges,), and the items with an edge to themselves,
    which is left out of the edges."""

    items: int
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    own: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.i)

    def moved(self, offset: int) -> "Edges":
        """Row r for item r + offset, the ends of the ids joined."""
        return self.renamed((np.arange(self.items) + offset) % self.items)

    def reversed(self) -> "Edges":
        """Row r for item `items` - 1 - r."""
        return self.renamed(np.arange(self.items)[::-1])

    def renamed(self, names: NDArray[np.int64]) -> "Edges":
        """Row r for item names[r]."""
        return Edges(self.items, names[self.i], names[self.j], names[self.own])

    def part(self, kept: NDArray[np.bool_]) -> "Edges":
        """Some of the edges."""
        return replace(self, i=self.i[kept], j=self.j[kept])

    def share_in(self, other: "Edges") -> float:
        """The share of these edges that the other graph has too."""
        return float(np.isin(self.keys, other.keys).mean()) if len(self) else 0.0

    def recall_in(self, other: "Edges") -> float:
        """The same share when edges of items to themselves count too: kNN recall."""
        shared = np.isin(self.keys, other.keys).sum() + np.isin(self.own, other.own).sum()
        return float(shared / max(len(self) + len(self.own), 1))

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """One integer per edge."""
        return self.i * self.items + self.j

    @property
    def matrix(self) -> sp.csr_array:
        """Ones where there are edges, (items, items)."""
        return sp.csr_array((np.ones(len(self)), (self.i, self.j)), shape=(self.items, self.items))


def knn_edges(modality: Modality) -> Edges:
    """The edges that the features make by themselves, as many per item as a neighbours file has (10 without one)."""
    k = K if modality.neighbours is None else modality.neighbours.shape[1]
    return _edges(*modality_neighbours(replace(modality, neighbours=None, cosine=None), k))


def file_edges(modality: Modality) -> Edges:
    """The edges of the neighbours file."""
    assert modality.neighbours is not None and modality.cosine is not None
    return _edges(modality.neighbours, modality.cosine)


def _edges(ids: NDArray, cosine: NDArray) -> Edges:
    """Without an item's edge to itself, and without edges of no positive cosine, as the graphs here have it."""
    i, j = np.repeat(np.arange(len(ids), dtype=np.int64), ids.shape[1]), ids.ravel().astype(np.int64)
    kept = (i != j) & (cosine.ravel() > 0)
    return Edges(len(ids), i[kept], j[kept], np.unique(i[i == j]))


def scan(edges: Edges, matrix: sp.csr_array) -> NDArray[np.float64]:
    """For every offset o, the sum over edges i -> j of matrix[i + o, j + o], the ends of the ids joined: (items,).

    An edge meets an entry at some offset only if both span the same distance, so only such pairs are looked at:
    about edges x entries / items of them, and not edges x items.
    """
    n, entries = edges.items, matrix.tocoo()
    span = (entries.col.astype(np.int64) - entries.row) % n
    order = np.argsort(span, kind="stable")
    rows, values = entries.row.astype(np.int64)[order], entries.data[order]
    first = np.searchsorted(span[order], np.arange(n + 1))
    of_edge = (edges.j - edges.i) % n
    counts = first[of_edge + 1] - first[of_edge]
    total = np.zeros(n)
    for part in _parts(counts):
        c = counts[part]
        place = np.arange(c.sum()) - np.repeat(np.cumsum(c) - c, c) + np.repeat(first[of_edge[part]], c)
        total += np.bincount((rows[place] - np.repeat(edges.i[part], c)) % n, weights=values[place], minlength=n)
    return total


def _parts(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Consecutive slices with about PAIRS in each."""
    ends = np.flatnonzero(np.diff(np.cumsum(counts) // PAIRS, append=-1)) + 1
    start = 0
    for end in ends:
        yield slice(start, int(end))
        start = int(end)


def where_it_fits(fixed: Edges, movable: Edges) -> tuple[int, float]:
    """The offset at which the movable graph has most edges of the fixed one, and their share of the fixed ones."""
    counts = scan(movable, fixed.matrix)
    best = int(counts.argmax())
    return best - (fixed.items if best > fixed.items / 2 else 0), float(counts[best] / max(len(fixed), 1))
