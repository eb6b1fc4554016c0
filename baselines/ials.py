"""iALS: matrix factorisation on all user-item pairs, by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008, in the form of Rendle et
al., "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022. With S the training pairs,

    L = sum over S of (e_u . e_i - 1)^2 + alpha_0 * sum over all pairs of (e_u . e_i)^2
        + lambda * (sum_u (|I_u| + alpha_0 |I|)^nu |e_u|^2 + sum_i (|U_i| + alpha_0 |U|)^nu |e_i|^2)

    e_u = (sum over I_u of e_i e_i^T + alpha_0 E_I^T E_I + lambda (|I_u| + alpha_0 |I|)^nu I)^-1 sum over I_u of e_i

and the same for items; a sweep solves all users, then all items.

Defaults: nu = 1 and 16 sweeps are the second paper's, alpha_0 and lambda its values for Pinterest, the sparsest of its
data sets (the authors' code); d is that of all models here.

Deviations
1. The number of sweeps is fixed: no early stopping, and validation chooses nothing.
2. The items start from the Xavier-uniform stream of all models here instead of N(0, 0.1^2 / d); the users need no
   start. A model without epochs is always given the seed 0, so that the start is the same in every run.
3. d is 64, as for all models here; that paper gains from d in the thousands.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Dataset
from tmfun.recommender import Recommender
from tmfun.settings import setting
from tmfun.streams import xavier

CELLS = 2**22  # numbers of one block's gathered rows, or of its normal equations, held at a time


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    sweeps: int = setting(16, least=1)
    unobserved_weight: float = setting(0.007, above=0)  # alpha_0
    l2: float = setting(0.02, above=0)  # lambda
    frequency_exponent: float = setting(1.0, least=0)  # nu


class IALS(Recommender):
    title = "iALS"
    settings_type = Settings
    learned = False

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        s = settings
        ones = np.ones(len(dataset.train), dtype=np.float32)
        history = sp.csr_array((ones, dataset.train.T), shape=(dataset.users, dataset.items))
        of_users, of_items = Side(history, s), Side(sp.csr_array(history.T), s)
        e_i = xavier(seed, "item_embedding", dataset.items, s.dimension).detach()
        for _ in range(s.sweeps):
            e_u = of_users.solve(e_i)
            e_i = of_items.solve(e_u)
        self.user_embedding, self.item_embedding = nn.Parameter(e_u), nn.Parameter(e_i)

    def representations(self) -> tuple[Tensor, Tensor]:
        return self.user_embedding, self.item_embedding


class Side:
    """The normal equations of all rows of `history`, (rows, columns), given the embeddings of its columns.

    Rows of like degree are solved together, their columns padded to a common length.
    """

    def __init__(self, history: sp.csr_array, settings: Settings) -> None:
        self.settings = settings
        rows, columns = history.shape
        degrees = np.diff(history.indptr)
        scale = (degrees + settings.unobserved_weight * columns) ** settings.frequency_exponent
        self.penalty = torch.from_numpy(settings.l2 * scale).float()  # (rows,)
        order = np.argsort(-degrees, kind="stable")
        d = settings.dimension
        self.blocks = []
        start = 0
        while start < rows:
            longest = int(degrees[order[start]])
            block = order[start : start + max(1, CELLS // (d * max(d, longest)))]
            padded = np.full((len(block), longest), columns, dtype=np.int64)  # the row of zeros after the last column
            padded[np.arange(longest) < degrees[block, None]] = history[block].indices
            self.blocks.append((torch.from_numpy(block), torch.from_numpy(padded)))
            start += len(block)

    def solve(self, columns: Tensor) -> Tensor:
        """The rows' embeddings that minimise L for these embeddings of the columns, (columns, d): (rows, d)."""
        d = columns.shape[1]
        everywhere = self.settings.unobserved_weight * columns.T @ columns
        columns = F.pad(columns, (0, 0, 0, 1))
        solved = columns.new_empty(len(self.penalty), d)
        for rows, padded in self.blocks:
            known = F.embedding(padded, columns)  # (block, longest, d)
            left = known.mT @ known + everywhere
            left.diagonal(dim1=1, dim2=2).add_(self.penalty[rows].unsqueeze(1))
            right = known.sum(dim=1).unsqueeze(2)
            solved[rows] = torch.cholesky_solve(right, torch.linalg.cholesky(left)).squeeze(2)
        return solved
