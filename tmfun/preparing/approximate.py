"""Approximate nearest neighbours through faiss, for more items than the exact search has time for.

Vectors of length 1, whose distance and cosine say the same, lie in the lists of a k-means (faiss's IVF); an item is
compared with the members of the few lists whose centres are nearest to it. Wide vectors are compared by their first
REDUCED principal components, and OVERSAMPLING times too many are found. Cosines are those of the whole features, and
choose among what was found.

Lists, because they cost one pass to fill, come out the same however many threads fill them, and bear with features
that many items share, where the links of a navigable graph (HNSW) would lead from one copy to the next.

The same features give the same neighbours on the same machine. What the search leaves open is settled so:

* An item is its own first neighbour, with cosine 1.
* A zero row has cosine 0 to every item, as in the exact search, so that any k do: it gets itself and the items after
  it. It stands in no list. The exact search would prefer it to an item with a cosine below 0; neither is ever an edge.
* An item whose lists hold fewer than k items is searched for exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tmfun.errors import InputError
from tmfun.preparing.raw import Tell
from tmfun.streams import numpy_stream

PROBES = 64  # lists that an item is compared with
REDUCED = 128  # components, of wider vectors
OVERSAMPLING = 4
SAMPLE = 1000  # rows whose neighbours are searched exactly too, to say how good the others are
TRAINED_ON = 64  # rows per list that k-means sees
LEAST = 39  # rows per list; with fewer faiss warns that centres mean little
ROTATED_ON = 2**14  # rows that the principal components come from
AT_ONCE = 2**22  # numbers held at a time
ROUNDING = 1e-6  # of cosines


@dataclass(frozen=True, eq=False)
class Found:
    """Neighbours (items, k) int32 and their cosines (items, k) float32, nearest first, and how they were found."""

    neighbours: NDArray[np.int32]
    cosine: NDArray[np.float32]
    how: dict[str, Any]


class UnitRows:
    """Features (items, width) of any float type, such as an opened .npy, as rows of length 1; read as they are needed.

    Raises InputError for features that no data set may have.
    """

    def __init__(self, features: NDArray) -> None:
        if features.ndim != 2 or not features.size or not np.issubdtype(features.dtype, np.floating):
            raise InputError(f"features of type {features.dtype} and shape {features.shape}, not rows of numbers")
        self.features = features
        self.items, self.width = features.shape
        self.block = max(1, AT_ONCE // self.width)
        first, varied = features[0], False
        zero = []
        for start, rows in self.blocks():
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                raise InputError(f"the features of item {start + bad[0]} are not finite; repair them first")
            varied = varied or bool((features[start : start + len(rows)] != first).any())
            zero.append(np.einsum("iw,iw->i", rows, rows) < 0.5)  # not 1: too short, or too long, for a float32
        if not varied and self.items > 1:
            raise InputError("the features are the same for every item; remove this modality")
        self.zero = np.flatnonzero(np.concatenate(zero))

    def __getitem__(self, rows: slice | NDArray) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and then not a number
            part = np.ascontiguousarray(self.features[rows], dtype=np.float32)
        return F.normalize(torch.from_numpy(part), dim=1).numpy()

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All rows in order, some at a time: (first row, block)."""
        for start in range(0, self.items, self.block):
            yield start, self[start : start + self.block]

    def gathered(self, places: NDArray) -> NDArray[np.float32]:
        """The rows at `places` (n,), read some at a time."""
        return np.concatenate([self[part] for part in np.array_split(places, len(places) // self.block + 1)])


def library() -> ModuleType:
    """faiss. Raises InputError if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "an approximate search needs the package faiss, which is not installed: python -m pip install -e"
            " '.[approximate]' in the clone, or faiss-cpu; without --approximate the search is exact"
        ) from error
    return faiss


def search(rows: UnitRows, k: int, tell: Tell, probes: int = PROBES) -> Found:
    """About the k items with the largest cosine to each item, itself counted; 1 <= k <= items.

    Runs on as many threads as torch. Holds the vectors that are compared, items x min(width, REDUCED) numbers, beside
    what is returned. Raises InputError without faiss.
    """
    faiss = library()
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists = _Lists(faiss, rows, probes, tell)
    neighbours = np.empty((rows.items, k), dtype=np.int32)
    cosine = np.empty((rows.items, k), dtype=np.float32)
    neighbours[rows.zero] = (rows.zero[:, None] + np.arange(k)) % rows.items
    cosine[rows.zero] = 0

    wanted = min(k if lists.components is None else OVERSAMPLING * k, len(lists.order))
    short = []
    step = max(1, AT_ONCE // (wanted * rows.width))
    for start in range(0, len(lists.order), step):
        own = lists.order[start : start + step]
        unit = rows[own]
        found = lists.nearest(unit, wanted)
        full = (found >= 0).sum(axis=1) >= k
        short.append(own[~full])
        if full.any():
            own, unit, found = own[full], unit[full], found[full]
            neighbours[own], cosine[own] = _ranked(rows, own, unit, found, k)
        tell("searching", (start + step) / len(lists.order))
    for own in _parts(np.concatenate(short)):
        neighbours[own], cosine[own] = exact(rows, own, k)

    how = {
        "search": "approximate",
        "library": f"faiss {faiss.__version__}",
        "index": lists.name,
        "probes": min(probes, lists.count),
        "candidates": wanted,
        "zero_rows": len(rows.zero),
        "rows_searched_exactly": sum(map(len, short)),
    }
    sample = np.sort(numpy_stream(0, "neighbours.recall").permutation(lists.order)[:SAMPLE])
    tell("measuring", 0.0)
    how |= {"recall": recall(rows, sample, cosine[sample]), "recall_rows": len(sample)}
    tell("measuring", 1.0)
    return Found(neighbours, cosine, how)


def recall(rows: UnitRows, own: NDArray, cosine: NDArray[np.float32]) -> float:
    """The share of neighbours as near as those that an exact search finds, for the items `own` (n,) with the `cosine`
    (n, k) of what was found, the item itself first and not counted. An item as near as the last exact one is as good.
    """
    k = cosine.shape[1]
    if k == 1:
        return 1.0
    last = np.concatenate([exact(rows, part, k)[1][:, -1:] for part in _parts(own)])
    return float((cosine[:, 1:] >= last - ROUNDING).mean())


def exact(rows: UnitRows, own: NDArray, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest items of the items `own` (n,), itself first, and the cosines; all features are read once."""
    unit = torch.from_numpy(rows[own])
    best, ids = torch.empty(len(own), 0), torch.empty(len(own), 0, dtype=torch.int64)
    step = max(1, min(rows.block, AT_ONCE // max(1, len(own))))
    for start in range(0, rows.items, step):
        score = unit @ torch.from_numpy(rows[start : start + step]).T
        here = np.flatnonzero((own >= start) & (own < start + step))
        score[here, own[here] - start] = torch.inf
        best = torch.cat([best, score], dim=1)
        ids = torch.cat([ids, torch.arange(start, start + score.shape[1]).expand(score.shape)], dim=1)
        best, places = best.topk(min(k, best.shape[1]), dim=1)
        ids = ids.gather(1, places)
    return ids.numpy().astype(np.int32), best.numpy().clip(-1, 1)


class _Lists:
    """The index over all rows that are not zero: `order` (n,) are these, list by list; `name` as faiss spells it."""

    def __init__(self, faiss: ModuleType, rows: UnitRows, probes: int, tell: Tell) -> None:
        alive = np.setdiff1d(np.arange(rows.items), rows.zero, assume_unique=True)
        shuffled = numpy_stream(0, "neighbours.training").permutation(alive)
        self.count = max(1, min(round(4 * len(alive) ** 0.5), len(alive) // LEAST))
        self.components, width = None, rows.width
        if width > REDUCED:
            self.components, width = faiss.PCAMatrix(width, REDUCED), REDUCED
            self.components.train(rows.gathered(np.sort(shuffled[:ROTATED_ON])))
        self.name = f"{'' if self.components is None else f'PCA{width},'}IVF{self.count},Flat"

        tell("training the index", 0.0)
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, self.count, faiss.METRIC_L2)
        self.index.cp.min_points_per_centroid = 1  # or it warns where there are few items, and one list
        places = np.sort(shuffled[: TRAINED_ON * self.count])
        parts = np.array_split(places, len(places) // rows.block + 1)
        self.index.train(np.concatenate([self._seen(rows[part]) for part in parts]))
        tell("training the index", 1.0)
        parts = np.array_split(alive, len(alive) // rows.block + 1)
        for number, part in enumerate(parts, 1):
            self.index.add_with_ids(self._seen(rows[part]), part)
            tell("filling the index", number / len(parts))
        self.index.nprobe = min(probes, self.count)
        # Items of one list are searched for together: they are compared with the same lists, which caches then hold.
        held = self.index.invlists
        members = (faiss.rev_swig_ptr(held.get_ids(i), held.list_size(i)).copy() for i in range(self.count))
        self.order = np.concatenate([m for m in members if len(m)])

    def nearest(self, unit: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
        """Items about nearest to rows of length 1 (n, width): (n, wanted), -1 where there are no more."""
        return self.index.search(self._seen(unit), wanted)[1]

    def _seen(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows as they are compared."""
        return unit if self.components is None else self.components.apply(unit)


def _ranked(
    rows: UnitRows, own: NDArray, unit: NDArray[np.float32], found: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of the items found (n, wanted), -1: none, the k nearest to the items `own` (n,), itself first, and cosines."""
    lost = ~(found == own[:, None]).any(axis=1)
    found[lost, -1] = own[lost]  # the item itself, among more than `wanted` copies of it
    found = np.sort(found, axis=1)  # of equally near items the first
    others = rows[found.clip(min=0).ravel()].reshape(*found.shape, rows.width)
    cosine = np.matmul(others, unit[:, :, None])[:, :, 0].clip(-1, 1)
    cosine[found < 0] = -np.inf
    itself = found == own[:, None]
    cosine[itself] = 1
    order = np.lexsort((~itself, -cosine), axis=1)[:, :k]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(cosine, order, axis=1)


def _parts(places: NDArray) -> Iterator[NDArray]:
    """`places` (n,), as many at a time as a search that reads all features is worth."""
    for start in range(0, len(places), SAMPLE):
        yield places[start : start + SAMPLE]
