import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.dataset import Dataset, Interactions
from tmfun.errors import InputError
from tmfun.splits import NAMES, k_core, split

PAIRS = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 15)), min_size=1)


def interactions(pairs: list[tuple[int, int]], times: list[int] | None = None) -> Interactions:
    user, item = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    timestamp = None if times is None else np.array(times, dtype=np.int64)
    return Interactions(int(user.max()) + 1, int(item.max()) + 1, user, item, None, timestamp)


def many(users: int = 60, items: int = 50) -> Interactions:
    """Users of 3 to 45 interactions, with times that often coincide; by arithmetic, the same for ever."""
    pairs = sorted((u, (7 * u + 11 * n) % items) for u in range(users) for n in range(3 + u % 43))
    return interactions(pairs, [(13 * u + 29 * i) % 40 for u, i in pairs])


def shuffled(given: Interactions, seed: int) -> tuple[Interactions, np.ndarray]:
    assert given.timestamp is not None
    order = np.random.default_rng(seed).permutation(len(given.user))
    return (
        replace(given, user=given.user[order], item=given.item[order], timestamp=given.timestamp[order]),
        order,
    )


def dataset(given: Interactions, labels: np.ndarray) -> Dataset:
    pairs = np.column_stack([given.user, given.item])
    return Dataset("x", given.users, given.items, *(pairs[labels == label] for label in (0, 1, 2))).check()


def sizes(given: Interactions, labels: np.ndarray, user: int) -> tuple[int, int, int]:
    counts = Counter(labels[given.user == user].tolist())
    return counts[0], counts[1], counts[2]


# -- sizes: loops over users, from the rules as they are written down


@pytest.mark.parametrize("name", ["lattice", "mmrec", "user-time"])
def test_the_sizes_per_user_follow_the_rule(name: str) -> None:
    found = many()
    labels = split(found, name, 0)
    for user in range(found.users):
        n = int((found.user == user).sum())
        h = 2 if n < 10 else int(n * 0.2)
        half, rest = h // 2, h - h // 2
        validation, test = (rest, half) if name == "lattice" else (half, rest)
        assert sizes(found, labels, user) == (n - h, validation, test)


def test_the_lattice_split_is_recognised_as_one() -> None:
    found = many()
    assert dataset(found, split(found, "lattice", 3)).split == "lattice"
    assert dataset(found, split(found, "mmrec", 3)).split == "as supplied"


@pytest.mark.parametrize("name", NAMES[:4])
def test_users_of_fewer_than_three_interactions_stay_in_training(name: str) -> None:
    pairs = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (4, 1)]
    found = interactions(pairs, list(range(7)))
    labels = split(found, name, 0)
    assert [sizes(found, labels, user) for user in range(5)] == [(1, 0, 0), (2, 0, 0), (1, 1, 1), (0, 0, 0), (1, 0, 0)]


# -- who is held out


@pytest.mark.parametrize("name", ["user-time", "leave-one-out"])
def test_time_decides_and_of_equal_times_the_item_id(name: str) -> None:
    found = many()
    labels = split(found, name, 0)
    assert found.timestamp is not None
    for user in range(found.users):
        own = np.flatnonzero(found.user == user)
        by_time = sorted(own, key=lambda entry: (found.timestamp[entry], found.item[entry]))
        train, validation, test = (1, 1, 1) if name == "leave-one-out" else sizes(found, labels, user)
        train = len(own) - validation - test
        assert labels[by_time].tolist() == [0] * train + [1] * validation + [2] * test


def test_one_timeline_for_all_is_cut_twice() -> None:
    found = many()
    labels = split(found, "global-time", 0)
    assert found.timestamp is not None
    in_order = sorted(found.timestamp.tolist())
    first, second = in_order[int(0.8 * len(in_order))], in_order[int(0.9 * len(in_order))]
    expected = [0 if t < first else 1 if t < second else 2 for t in found.timestamp.tolist()]
    assert labels.tolist() == expected and set(expected) == {0, 1, 2}


@pytest.mark.parametrize("name", ["lattice", "mmrec", "leave-one-out"])
def test_random_splits_hold_out_every_place_equally_often(name: str) -> None:
    """Of 9 items 1 is for validation and 1 for test; 2,000 users: mean 222, deviation 14."""
    found = interactions([(user, item) for user in range(2000) for item in range(9)])
    labels = split(found, name, 1)
    for label in (1, 2):
        often = np.bincount(found.item[labels == label], minlength=9)
        assert often.sum() == 2000 and np.abs(often - 2000 / 9).max() < 60


# -- stability


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_order_of_the_entries_does_not_matter(name: str, seed: int) -> None:
    found = many()
    mixed, order = shuffled(found, seed)
    np.testing.assert_array_equal(split(mixed, name, seed), split(found, name, seed)[order])


DIGESTS = {
    "lattice": "29a0fd52912ecc55",
    "mmrec": "17a48588a8671bb9",
    "leave-one-out": "29bcb0925a903898",
    "user-time": "f70f5e8ab635348a",
    "global-time": "f0d0cafcc964ab03",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_outcome_for_a_seed_never_changes(name: str) -> None:
    labels = split(many(), name, 2023)
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == DIGESTS[name]


def test_the_outcome_without_timestamps_never_changes() -> None:
    labels = split(replace(many(), timestamp=None), "leave-one-out", 2023)
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "54989661d42ec0bc"


@pytest.mark.parametrize("name", ["lattice", "mmrec"])
def test_another_seed_is_another_split(name: str) -> None:
    found = many()
    assert (split(found, name, 0) != split(found, name, 1)).mean() > 0.1


# -- refusals


@pytest.mark.parametrize("name", ["user-time", "global-time"])
def test_a_split_by_time_refuses_without_timestamps(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' needs timestamps, and these interactions have none: name their"):
        split(replace(many(), timestamp=None), name, 0)


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'lattice'"):
        split(many(), "latice", 0)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(InputError, match="'global-time' leaves train empty"):
        split(interactions([(0, 0), (0, 1), (1, 0)], [5, 5, 5]), "global-time", 0)
    with pytest.raises(InputError, match="'mmrec' leaves validation empty"):
        split(interactions([(0, 0), (1, 1)]), "mmrec", 0)


# -- k-core


def naive_core(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    """Take away one user or item that occurs too seldom, and look again."""
    left = set(pairs)
    while True:
        for side in (0, 1):
            counts = Counter(pair[side] for pair in left)
            seldom = [one for one, count in sorted(counts.items()) if count < k]
            if seldom:
                left = {pair for pair in left if pair[side] != seldom[0]}
                break
        else:
            return left


@given(PAIRS, st.integers(1, 5))
def test_the_core_is_the_largest_set_in_which_all_occur_k_times(pairs: set[tuple[int, int]], k: int) -> None:
    found = interactions(sorted(pairs))
    stays = k_core(found, k)
    left = set(zip(found.user[stays].tolist(), found.item[stays].tolist(), strict=True))
    assert left == naive_core(pairs, k)
    for side in (0, 1):
        assert all(count >= k for count in Counter(pair[side] for pair in left).values())


def test_a_core_can_unravel_to_nothing() -> None:
    chain = [(n, n + step) for n in range(50) for step in (0, 1)]  # a path: its ends have one interaction
    assert not k_core(interactions(chain), 2).any()
    assert k_core(interactions([*chain, (50, 0), (50, 50)]), 2).all()  # closed to a ring
