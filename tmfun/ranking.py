"""From scores to ranks: where each held-out item stands among its user's candidates.

Candidates are all items outside the user's training set; validation items stay candidates at test and the other way
round, so that one ranking serves both splits. Ties are broken by one fixed pseudo-random permutation of the items,
the same for every run: breaking them by id would leak where ids run by popularity.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.recommender import Recommender
from tmfun.streams import numpy_stream

CELLS, CELLS_ON_GPU = 2**20, 2**25  # scores held at a time
CACHED = 2**18  # of them compared at a time on a CPU: what stays in a core's cache


class NotFiniteError(Exception):
    """A model produced a score that is no number."""


class Ranking:
    """Ranks the held-out items of one split; build it once per data set, split and device."""

    def __init__(self, dataset: Dataset, split: str, device: torch.device | str = "cpu") -> None:
        held_out = getattr(dataset, split)
        order = numpy_stream(0, "ties").permutation(dataset.items)  # place in the tie order -> item
        place = np.empty_like(order)
        place[order] = np.arange(dataset.items)
        self.order = torch.from_numpy(order).to(device)
        self.entries = len(held_out)
        self.chunks = list(_chunks(dataset, held_out, place, device))

    @torch.no_grad()
    def ranks(self, model: Recommender) -> NDArray[np.int32]:
        """The rank of every pair of the split, in its order, 1 = best: (pairs,).

        Raises NotFiniteError if a score is NaN or infinite.
        """
        was_training = model.training
        model.eval()
        prepared = model.prepare_scores()
        ranks = [self._rank(model.scores(prepared, users), *where) for users, *where in self.chunks]
        model.train(was_training)
        found = torch.cat(ranks).cpu().numpy().astype(np.int32)
        if (found < 1).any():
            raise NotFiniteError("the model's scores are not finite numbers")
        return found

    def _rank(self, scores: Tensor, rows: Tensor, targets: Tensor, seen_rows: Tensor, seen: Tensor) -> Tensor:
        """Ranks within one chunk of users: scores (users, items), columns still in id order."""
        finite = scores.sum(dim=1).isfinite()  # a NaN or an infinity anywhere in a row shows in its sum
        scores[seen_rows, seen] = -torch.inf
        own = scores[rows, targets].unsqueeze(1)  # (entries, 1)
        above, level = _above_and_level(scores, rows, own)
        tied = (level > 1).nonzero().squeeze(1)
        for some in tied.split(256):
            equal = scores[rows[some]][:, self.order] == own[some]  # columns in tie order
            before = torch.arange(equal.shape[1], device=equal.device) < self._place(targets[some]).unsqueeze(1)
            above[some] += (equal & before).sum(dim=1, dtype=torch.int32)
        return torch.where(finite[rows], above + 1, 0)

    def _place(self, items: Tensor) -> Tensor:
        if not hasattr(self, "place"):
            self.place = torch.argsort(self.order)
        return self.place[items]


def _above_and_level(scores: Tensor, rows: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of its row lie above each entry's own (entries, 1), and how many level with it: (entries,) each.

    Copies of the scores are overwritten by the comparisons, as numbers: to sum truth values, torch would convert them
    first, which takes longer than all the rest. Sums of ones are exact in float32 below 2^24 items.
    """
    assert scores.shape[1] < 2**24
    size = max(1, CACHED // scores.shape[1]) if scores.device.type == "cpu" else len(rows)
    above, not_below = [], []
    for some, limit in zip(rows.split(size), own.split(size), strict=True):
        above.append(scores.index_select(0, some).gt_(limit).sum(dim=1))
        not_below.append(scores.index_select(0, some).ge_(limit).sum(dim=1))
    higher, level = torch.cat(above).int(), torch.cat(not_below).int()
    return higher, level - higher


def _chunks(
    dataset: Dataset, held_out: NDArray[np.int32], place: NDArray, device: torch.device | str
) -> Iterator[tuple[Tensor, ...]]:
    """Per chunk of users: their ids, then row and item of each held-out pair, row and item of each training pair."""
    users = np.unique(held_out[:, 0])
    cells = CELLS if torch.device(device).type == "cpu" else CELLS_ON_GPU
    for some in np.array_split(users, max(1, -(-len(users) * dataset.items // cells))):
        parts = [some.astype(np.int64)]
        for pairs in (held_out, dataset.train):
            first, last = np.searchsorted(pairs[:, 0], [some[0], some[-1] + 1])
            inside = pairs[first:last]
            inside = inside[np.isin(inside[:, 0], some)]
            parts += [np.searchsorted(some, inside[:, 0]), inside[:, 1].astype(np.int64)]
        yield tuple(torch.from_numpy(part).to(device) for part in parts)
