"""Data sets are recognised whatever their ids; against colour refinement and isomorphism done by hand."""

from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.dataset import SPLITS, Dataset
from tmfun.fingerprint import ROUNDS, Fingerprint, counts, fingerprint

Edges = dict[tuple[int, int], int]  # (user, item) -> split


def dataset(edges: Edges, users: int = 0, items: int = 0) -> Dataset:
    """The data set of these interactions, in the order in which they are listed."""
    splits = {name: [pair for pair, split in edges.items() if split == place] for place, name in enumerate(SPLITS)}
    users = max([users, *(user + 1 for user, _ in edges)])
    items = max([items, *(item + 1 for _, item in edges)])
    return Dataset("d", users, items, **{name: np.array(pairs) for name, pairs in splits.items()})


def of(edges: Edges) -> Fingerprint:
    return fingerprint(dataset(edges))


@st.composite
def graphs(draw: st.DrawFn) -> Edges:
    pairs = st.tuples(st.integers(0, 6), st.integers(0, 5))
    return draw(st.dictionaries(pairs, st.integers(0, 2), min_size=1, max_size=25))


@given(graphs(), st.randoms(use_true_random=False), st.integers(0, 3), st.integers(0, 3))
def test_ids_order_and_unused_ids_do_not_matter(edges: Edges, random, more_users: int, more_items: int) -> None:
    user_ids, item_ids = list(range(7 + more_users)), list(range(6 + more_items))
    random.shuffle(user_ids)
    random.shuffle(item_ids)
    rows = [((user_ids[user], item_ids[item]), split) for (user, item), split in edges.items()]
    random.shuffle(rows)
    renamed = dataset(dict(rows), len(user_ids), len(item_ids))
    assert fingerprint(renamed) == of(edges)
    assert counts(renamed) == counts(dataset(edges))


@given(graphs(), st.integers(0, 6), st.integers(0, 5))
def test_one_interaction_more_or_less_is_noticed(edges: Edges, user: int, item: int) -> None:
    changed = {pair: split for pair, split in edges.items() if pair != (user, item)}
    if len(changed) == len(edges):
        changed[user, item] = 0
    if changed:
        assert of(changed).interactions != of(edges).interactions
        assert of(changed).split != of(edges).split


def refined(edges: Edges, labelled: bool, names: dict) -> tuple[Counter, Counter]:
    """Colour refinement with Python's own multisets; `names` numbers the colours, and is shared between graphs."""
    nodes = {("user", user) for user, _ in edges} | {("item", item) for _, item in edges}
    colours = {node: names.setdefault(node[0], len(names)) for node in nodes}
    for _ in range(ROUNDS):
        around: dict[tuple[str, int], Counter] = {node: Counter() for node in nodes}
        for (user, item), split in edges.items():
            label = split if labelled else None
            around["user", user][colours["item", item], label] += 1
            around["item", item][colours["user", user], label] += 1
        keys = {node: (colours[node], frozenset(around[node].items())) for node in nodes}
        colours = {node: names.setdefault(key, len(names)) for node, key in keys.items()}
    return tuple(Counter(colours[node] for node in nodes if node[0] == side) for side in ("user", "item"))  # type: ignore[return-value]


@given(graphs(), st.data())
def test_a_moved_interaction_is_noticed_exactly_where_colour_refinement_notices_it(edges: Edges, data) -> None:
    user, item = data.draw(st.sampled_from(sorted(edges)))
    target = user, data.draw(st.integers(0, 5))
    split = data.draw(st.integers(0, 2))
    moved = {pair: label for pair, label in edges.items() if pair not in ((user, item), target)} | {target: split}
    for labelled, digest in ((False, "interactions"), (True, "split")):
        names: dict = {}
        same = refined(edges, labelled, names) == refined(moved, labelled, names)
        assert (getattr(of(edges), digest) == getattr(of(moved), digest)) == same


def test_three_by_three_equal_fingerprints_are_equal_graphs() -> None:
    """All 511 graphs of three users and three items: fingerprints agree exactly where some renaming makes them one."""
    pairs = list(product(range(3), range(3)))
    orders = list(permutations(range(3)))
    found: dict[str, set] = {}
    for chosen in product((False, True), repeat=len(pairs)):
        edges = [pair for pair, taken in zip(pairs, chosen, strict=True) if taken]
        if edges:
            canonical = min(tuple(sorted((u[a], i[b]) for a, b in edges)) for u in orders for i in orders)
            found.setdefault(of(dict.fromkeys(edges, 0)).interactions, set()).add(canonical)
    assert all(len(graphs) == 1 for graphs in found.values())
    assert len(found) == len(set.union(*found.values())) == 35  # 36 binary matrices up to permutations, one is empty


def test_two_by_two_with_splits_equal_fingerprints_are_equal_graphs() -> None:
    pairs = list(product(range(2), range(2)))
    found: dict[str, set] = {}
    for labels in product((None, 0, 1, 2), repeat=4):
        edges = {pair: label for pair, label in zip(pairs, labels, strict=True) if label is not None}
        if edges:
            canonical = min(tuple(sorted((a ^ u, b ^ i, s) for (a, b), s in edges.items())) for u, i in pairs)
            found.setdefault(of(edges).split, set()).add(canonical)
    assert all(len(graphs) == 1 for graphs in found.values())
    assert len(found) == len(set.union(*found.values()))


def test_another_split_leaves_the_interactions(toy: Dataset) -> None:
    other = Dataset(toy.name, toy.users, toy.items, toy.train, validation=toy.test, test=toy.validation)
    assert fingerprint(other).interactions == fingerprint(toy).interactions
    assert fingerprint(other).split != fingerprint(toy).split


def test_features_do_not_matter(toys: dict[str, Dataset]) -> None:
    assert len({fingerprint(variant) for variant in toys.values()}) == 1


def test_users_are_not_items() -> None:
    assert of({(0, 0): 0, (0, 1): 0}) != of({(0, 0): 0, (1, 0): 0})


@pytest.mark.parametrize("split", [0, 1, 2])
def test_what_it_cannot_tell(split: int) -> None:
    """One ring of eight, and two rings of four: all users are alike and all items are alike, in either."""
    ring = {(user, item % 4): split for user in range(4) for item in (user, user + 1)}
    rings = {(user, item): split for user in range(4) for item in ((0, 1) if user < 2 else (2, 3))}
    assert of(ring) == of(rings)


def test_fingerprints_never_change() -> None:
    """known.toml holds such digests: a change makes all of them strangers."""
    edges = {(0, 0): 0, (0, 1): 0, (0, 2): 1, (1, 0): 0, (1, 3): 2, (2, 3): 0}
    assert of(edges) == Fingerprint(
        interactions="90ec0cbbc9ca0fafced03321966a1b3c536036c6f8a359035b3e72fa24e8d2e9",
        split="8117b8a3ab71a9d4613abcf7610a26cafc3bb1f78fd16f13f3649234bca2aa72",
    )
