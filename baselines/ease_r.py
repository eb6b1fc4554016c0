"""EASE^R: a linear autoencoder without hidden layer, solved in closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019. With X the users x items training matrix,

    minimise |X - X B|^2 + lambda |B|^2 subject to diag(B) = 0
    P = (X^T X + lambda I)^-1,   B = I - P diag(1 / diag P)   (eq. 8),   score(u, i) = X_u B_i

B is items x items and dense by nature, the one such matrix here: `memory_gb` limits the data sets it is tried on.

Defaults: lambda is RecBole's; the paper's own data sets, all denser, took 200 to 1,000. The limit of memory is ours.

Deviations
1. None of the model. P is computed in place, block by block, so that one matrix is all that is ever held.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from tmfun.dataset import Card, Dataset
from tmfun.recommender import Recommender
from tmfun.settings import setting

BLOCK = 512  # rows eliminated at a time


@dataclass(frozen=True)
class Settings:
    l2: float = setting(250.0, above=0)  # lambda
    memory_gb: float = setting(5.0, above=0)  # a data set whose B needs more is left out


class EASER(Recommender):
    title = "EASE^R"
    settings_type = Settings
    learned = False

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        ones = np.ones(len(dataset.train))
        self.history = sp.csr_array((ones, dataset.train.T), shape=(dataset.users, dataset.items))  # X
        weights = torch.from_numpy((self.history.T @ self.history).toarray())  # X^T X
        weights.diagonal().add_(settings.l2)
        invert(weights)  # P
        weights /= -weights.diagonal().clone()
        self.weights = weights.fill_diagonal_(0).numpy()  # B

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        needed = 8 * card.items * (card.items + 2 * BLOCK) / 1e9
        if needed > settings.memory_gb:
            return f"{card.items} x {card.items} weights need {needed:.1f} GB (memory_gb = {settings.memory_gb:g})"
        return None

    def prepare_scores(self) -> np.ndarray:
        return self.weights

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        scores = self.history[users.cpu().numpy()] @ prepared
        return torch.from_numpy(scores).float().to(users.device)


def invert(matrix: Tensor) -> None:
    """Replace a symmetric positive definite matrix (n, n) by its inverse: Gauss-Jordan elimination by blocks.

    torch's own inverse holds a second matrix. Definite matrices need no pivoting.
    """
    for block in torch.arange(len(matrix)).split(BLOCK):
        rows = slice(int(block[0]), int(block[-1]) + 1)
        pivot = torch.linalg.inv(matrix[rows, rows])
        solved = pivot @ matrix[rows]  # (block, n)
        solved[:, rows] = pivot
        column = matrix[:, rows].clone()  # (n, block)
        column[rows] = 0
        matrix[:, rows] = 0
        matrix.addmm_(column, solved, alpha=-1)
        matrix[rows] = solved
