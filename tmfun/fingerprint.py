"""What a data set's interactions are, whatever its ids: two digests by which a known data set is recognised.

Colour refinement (Weisfeiler and Leman 1968) on the graph of users and items: everybody starts with a colour of their
side; in each of `ROUNDS` rounds a user's new colour is a hash of the old one and of the multiset of colours of the
user's items, and the same for items. A digest is the SHA-256 of the counts and of the sorted colours of both sides.
Nothing of it depends on ids, on the order of rows, on features, or on users and items without any interaction.

What it tells: one interaction more or less, always, by the counts. An interaction that moved, unless the result is
the same up to a renaming of ids, or looks the same to colour refinement: graphs in which all users are alike and all
items are alike, such as one ring of four users and four items and two rings of two and two. Real data is nowhere near
that even. Hashes are 64 bits wide and not keyed: this recognises data, and is no defence against data made to deceive.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import SPLITS, Dataset

ROUNDS = 8  # a colour sees that many steps far; on real data the colours have long stopped parting by then

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprint:
    """interactions: digest of who interacted with what; split: digest of that and of each interaction's split."""

    interactions: str
    split: str


def counts(dataset: Dataset) -> tuple[int, int, int]:
    """Users and items with at least one interaction in any split, and interactions."""
    users, items, _ = _edges(dataset)
    return len(np.unique(users)), len(np.unique(items)), len(users)


def fingerprint(dataset: Dataset) -> Fingerprint:
    """The two digests. The same on every machine; known.toml holds those that were measured."""
    *sides, splits = _edges(dataset)
    users, items = (np.unique(side, return_inverse=True)[1] for side in sides)  # drops unused ids
    return Fingerprint(_digest(users, items, np.zeros_like(splits)), _digest(users, items, splits + 1))


def _edges(dataset: Dataset) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """(interactions,) each: user, item, place of the split in SPLITS."""
    pairs = [getattr(dataset, split) for split in SPLITS]
    together = np.concatenate(pairs)
    return together[:, 0], together[:, 1], np.repeat(np.arange(len(SPLITS)), [len(part) for part in pairs])


def _digest(users: NDArray, items: NDArray, labels: NDArray) -> str:
    """`users`, `items`, `labels` (interactions,): dense ids of either side, and what is written on the interaction."""
    label = _mix(labels.astype(np.uint64))
    of_user, of_item = _Gather(users), _Gather(items)
    user_colours, item_colours = _mix(np.full(of_user.count, 1, np.uint64)), _mix(np.full(of_item.count, 2, np.uint64))
    for _ in range(ROUNDS):
        user_colours, item_colours = (
            _mix(user_colours + _mix(of_user.sums(_mix(item_colours[items] ^ label)))),
            _mix(item_colours + _mix(of_item.sums(_mix(user_colours[users] ^ label)))),
        )
    digest = hashlib.sha256(f"tmfun fingerprint 1: {of_user.count} {of_item.count} {len(labels)} ".encode())
    for colours in (user_colours, item_colours):
        digest.update(np.sort(colours).astype("<u8").tobytes())
    return digest.hexdigest()


class _Gather:
    """Sums over the interactions of each node, modulo 2^64: a hash of a multiset that needs no order."""

    def __init__(self, nodes: NDArray) -> None:
        self.order = np.argsort(nodes, kind="stable")
        degrees = np.bincount(nodes)  # all above 0: ids are dense
        self.count, self.starts = len(degrees), np.cumsum(degrees) - degrees

    def sums(self, hashes: Hashes) -> Hashes:
        """`hashes` (interactions,) -> (nodes,)."""
        return np.add.reduceat(hashes[self.order], self.starts)


def _mix(numbers: Hashes) -> Hashes:
    """SplitMix64 (Steele, Lea and Flood 2014): one to one on 64 bits, each input bit moves half of the output's."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
