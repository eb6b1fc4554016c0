"""From the training set to batches of (user, an item of theirs, an item not in their training set).

A run's random numbers come from its own stream on the CPU, so that they are the same on every device. All that is done
with them happens on the device of the run: gathering pairs, and finding the drawn items that users know.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.recommender import Batch
from tmfun.streams import numpy_stream


class Sampler:
    """Draws the batches of a run, epoch by epoch.

    `by_user` draws batches of distinct users with one random pair of each; else an epoch is all pairs in turn.

    A negative is any item outside the user's training set: held-out items must stay drawable, as leaving them out
    would tell the model which items are held out. Raises InputError if a user has every item.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, seed: int, by_user: bool = False, device: torch.device | str = "cpu"
    ) -> None:
        self.batch_size, self.by_user, self.device = batch_size, by_user, device
        self.items = dataset.items
        self.stream = numpy_stream(seed, "sampler")
        users, items = dataset.train.T.astype(np.int64)
        self.pairs = torch.from_numpy(np.stack([users, items])).to(device)  # (2, pairs), sorted by user
        self.keys = torch.from_numpy(dataset.keys("train")).to(device)
        self.per_user = np.bincount(users, minlength=dataset.users)
        if self.per_user.max() >= dataset.items:
            user = self.per_user.argmax()
            raise InputError(f"{dataset.name}: user {user} has every item, so no negative can be drawn")
        self.first = np.concatenate([[0], np.cumsum(self.per_user)[:-1]])
        self.active = np.flatnonzero(self.per_user)

    def epoch(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        order, size = self._one_pair_per_user() if self.by_user else self._all_pairs()
        users, positives = self.pairs[:, torch.from_numpy(order).to(self.device)]
        for batch in zip(*(ids.split(size) for ids in (users, positives, self.negatives(users))), strict=True):
            yield Batch(*batch)

    def _all_pairs(self) -> tuple[NDArray[np.int64], int]:
        """The order of all pairs, and the size of a batch."""
        return self.stream.permutation(len(self.keys)), self.batch_size

    def _one_pair_per_user(self) -> tuple[NDArray[np.int64], int]:
        """The order of the pairs of n_train // batch_size + 1 batches of distinct users, and the size of a batch."""
        size = min(self.batch_size, len(self.active))
        steps = len(self.keys) // self.batch_size + 1
        users = np.concatenate([self.stream.permutation(self.active)[:size] for _ in range(steps)])
        return self.first[users] + self.stream.integers(0, self.per_user[users]), size

    def negatives(self, users: Tensor) -> Tensor:
        """One item per user (n,), uniform over the items outside the user's training set: (n,)."""
        drawn = self._draw(len(users))
        redraw = self._known(users, drawn).nonzero().squeeze(1)
        while len(redraw):
            drawn[redraw] = self._draw(len(redraw))
            redraw = redraw[self._known(users[redraw], drawn[redraw])]
        return drawn

    def _draw(self, count: int) -> Tensor:
        return torch.from_numpy(self.stream.integers(0, self.items, size=count)).to(self.device)

    def _known(self, users: Tensor, items: Tensor) -> Tensor:
        return are_pairs(self.keys, users * self.items + items)


def are_pairs(keys: Tensor, wanted: Tensor) -> Tensor:
    """Which of `wanted` (n,) are among the sorted `keys` of pairs (Dataset.keys): booleans (n,)."""
    place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    return keys[place] == wanted
