"""From interactions to splits, by name; and k-core filtering, which comes before.

    lattice        per user at random: h = 2 if n < 10 else floor(0.2 n) held out, floor(h / 2) of them for test, the
                   rest for validation (data/build_data.py of the repository CRIPAC-DIG/LATTICE)
    mmrec          the same h, the other way round: floor(h / 2) for validation, the rest for test
                   (preprocessing/1splitting.ipynb of the repository enoche/MMRec)
    leave-one-out  each user's last interaction for test, the one before for validation; by time where there are
                   timestamps, else in random order
    user-time      each user's interactions by time, in the sizes of mmrec: first train, then validation, then test
    global-time    one timeline for all: validation begins with the time of the interaction that 80 % precede, test
                   with the one that 90 % precede. What happened at the same time stays together.

The first four leave users of fewer than three interactions in training: nothing can be held out that leaves something
to train on. (Both published rules are made for at least five.) Of a user's interactions at the same time, the one
with the larger item id counts as the later one.

The outcome depends on the interactions, the seed and nothing else: entries are brought into the order of user and item
first, and the lots are raw 64-bit outputs of PCG64, which are the same on every machine and in every version of numpy.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import SPLITS, Interactions, lattice_sizes
from tmfun.errors import InputError
from tmfun.settings import unknown
from tmfun.streams import numpy_stream

LEAST = 3  # interactions of a user of whom something is held out

Labels = NDArray[np.int8]  # 0 train, 1 validation, 2 test
Counts = NDArray[np.int64]
Sizes = Callable[[Counts], tuple[Counts, Counts]]  # interactions per user -> (for validation, for test)


def split(interactions: Interactions, name: str, seed: int) -> Labels:
    """0 (train), 1 (validation) or 2 (test) for each entry of `interactions`, whose pairs are distinct.

    Raises InputError for an unknown name, for missing timestamps, and where a split would be empty.
    """
    if name not in _RULES:
        raise unknown("split", name, _RULES)
    return none_empty(_RULES[name](interactions, seed), name)


def none_empty(labels: Labels, name: str) -> Labels:
    """`labels`, or InputError where one of the three has no entry."""
    for label, part in enumerate(SPLITS):
        if not (labels == label).any():
            raise InputError(f"the split '{name}' leaves {part} empty: these interactions are too few for it")
    return labels


def k_core(interactions: Interactions, k: int) -> NDArray[np.bool_]:
    """Which entries stay: the largest set in which every user and every item that occurs does so at least k times."""
    stays = np.ones(len(interactions.user), dtype=bool)
    while True:
        of_user = np.bincount(interactions.user[stays], minlength=interactions.users)
        of_item = np.bincount(interactions.item[stays], minlength=interactions.items)
        still = stays & (of_user[interactions.user] >= k) & (of_item[interactions.item] >= k)
        if still.sum() == stays.sum():
            return stays
        stays = still


def _lots(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """A random number per entry that depends on its place among all pairs alone, not on its place in the arrays."""
    lots = np.empty(len(interactions.user), dtype=np.uint64)
    order = np.lexsort((interactions.item, interactions.user))
    lots[order] = numpy_stream(seed, "split").bit_generator.random_raw(len(lots))
    return lots


def _times(interactions: Interactions, name: str) -> NDArray[np.int64]:
    if interactions.timestamp is None:
        raise InputError(
            f"the split '{name}' needs timestamps, and these interactions have none: name their column, or take"
            " lattice, mmrec or leave-one-out"
        )
    return interactions.timestamp


def _per_user(interactions: Interactions, order_by: NDArray, sizes: Sizes) -> Labels:
    """Of each user's entries, in the order of `order_by`, the last are for test and those before for validation."""
    order = np.lexsort((interactions.item, order_by, interactions.user))
    user = interactions.user[order]
    count = np.bincount(user, minlength=interactions.users)
    validation, test = (np.where(count < LEAST, 0, size) for size in sizes(count))
    to_the_end = np.cumsum(count)[user] - np.arange(len(user))  # 1 for a user's last entry
    labels = np.empty(len(user), dtype=np.int8)
    labels[order] = np.select([to_the_end <= test[user], to_the_end <= (test + validation)[user]], [2, 1], 0)
    return labels


def _mmrec_sizes(count: Counts) -> tuple[Counts, Counts]:
    test, validation = lattice_sizes(count)
    return validation, test


def _one_each(count: Counts) -> tuple[Counts, Counts]:
    return np.ones_like(count), np.ones_like(count)


def _leave_one_out(interactions: Interactions, seed: int) -> Labels:
    times = interactions.timestamp
    return _per_user(interactions, _lots(interactions, seed) if times is None else times, _one_each)


def _global_time(interactions: Interactions, seed: int) -> Labels:
    times = _times(interactions, "global-time")
    in_order = np.sort(times)
    first_of_validation, first_of_test = (in_order[len(times) * tenths // 10] for tenths in (8, 9))
    return np.select([times >= first_of_test, times >= first_of_validation], [2, 1], 0).astype(np.int8)


_RULES: dict[str, Callable[[Interactions, int], Labels]] = {
    "lattice": lambda interactions, seed: _per_user(interactions, _lots(interactions, seed), lattice_sizes),
    "mmrec": lambda interactions, seed: _per_user(interactions, _lots(interactions, seed), _mmrec_sizes),
    "leave-one-out": _leave_one_out,
    "user-time": lambda interactions, _: _per_user(interactions, _times(interactions, "user-time"), _mmrec_sizes),
    "global-time": _global_time,
}
NAMES = tuple(_RULES)
