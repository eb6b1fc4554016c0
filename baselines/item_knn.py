"""Item kNN on interactions: score(u, i) = sum over the user's items j of sim(i, j).

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; with the shrinkage of
Ferrari Dacrema et al., "Are we really making much progress?", RecSys 2019:

    sim(i, j) = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink),  kept for each i's `neighbours` largest, 0 for j = i

Defaults: 100 neighbours and a shrinkage of 10 are ours; the second paper searches both, up to 1,000.

Deviations
1. Binary interactions, so cosine is the only similarity offered.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.recommender import Recommender
from tmfun.settings import setting

CHUNK = 1024  # rows of the item-item product held at a time


@dataclass(frozen=True)
class Settings:
    neighbours: int = setting(100, least=1)
    shrink: float = setting(10.0, least=0)


class ItemKNN(Recommender):
    title = "Item kNN"
    settings_type = Settings
    learned = False

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        ones = np.ones(len(dataset.train), dtype=np.float32)
        self.history = sp.csr_array((ones, dataset.train.T), shape=(dataset.users, dataset.items))
        self.similarity = item_similarity(self.history, settings.neighbours, settings.shrink)  # row i: neighbours of i

    def prepare_scores(self) -> sp.csr_array:
        return sp.csr_array(self.similarity.T)

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        scores = (self.history[users.cpu().numpy()] @ prepared).toarray()
        return torch.from_numpy(scores).to(users.device)


def item_similarity(history: sp.csr_array, neighbours: int, shrink: float) -> sp.csr_array:
    """Shrunk cosines between the columns of `history` (users, items), the largest per row kept: (items, items)."""
    norms = np.sqrt(np.asarray(history.sum(axis=0)).ravel())
    transposed = sp.csr_array(history.T)
    blocks = []
    for start in range(0, history.shape[1], CHUNK):
        block = sp.coo_array(transposed[start : start + CHUNK] @ history)
        rows, columns = block.row + start, block.col
        values = block.data / (norms[rows] * norms[columns] + shrink)
        off_diagonal = rows != columns
        blocks.append(_largest_per_row(rows[off_diagonal], columns[off_diagonal], values[off_diagonal], neighbours))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    size = history.shape[1]
    return sp.csr_array((values.astype(np.float32), (rows, columns)), shape=(size, size))


def _largest_per_row(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (row, column, value) triples the `count` with the largest values in each row; ties to the smaller column."""
    order = np.lexsort((columns, -values, rows))
    rows = rows[order]
    starts = np.searchsorted(rows, rows, side="left")
    kept = order[np.arange(len(rows)) - starts < count]
    return rows[np.arange(len(rows)) - starts < count], columns[kept], values[kept]
