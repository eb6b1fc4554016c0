from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmfun.checks import interactions
from tmfun.dataset import SPLITS, Dataset

LEVELS_OF_CLEAN = {"ok", "note"}


def split_by(pairs: NDArray, held_out: NDArray, base: Dataset) -> Dataset:
    """The pairs, with label 0, 1 or 2 each."""
    return replace(base, **{split: pairs[held_out == label] for label, split in enumerate(SPLITS)})


def everything(dataset: Dataset) -> NDArray:
    return np.vstack([getattr(dataset, split) for split in SPLITS])


# -- clean sets


def test_a_clean_set_has_no_warning_and_its_numbers_are_right(shop: Any) -> None:
    dataset = shop.generated()
    found = interactions.check(dataset)
    assert {finding.level for finding in found} <= LEVELS_OF_CLEAN
    counts = shop.find(found, "counts").numbers
    total = sum(len(getattr(dataset, split)) for split in SPLITS)
    assert (counts["users"], counts["items"], counts["interactions"]) == (500, 400, total)
    assert counts["density"] == total / 200_000
    assert set(shop.find(found, "duplicates").numbers.values()) == {0}
    assert set(shop.find(found, "leaks").numbers.values()) == {0}
    degrees = shop.find(found, "degrees").numbers["item"]
    own = np.bincount(dataset.train[:, 1], minlength=400)
    assert (degrees["least"], degrees["most"], degrees["mean"]) == (own.min(), own.max(), own.mean())


def test_users_and_items_without_interactions_and_cold_pairs_are_counted(toy: Dataset, shop: Any) -> None:
    found = interactions.check(toy)
    users, items = shop.find(found, "users without"), shop.find(found, "items without")
    assert dict(users.numbers) == {"train": 1, "validation": 2, "test": 2, "any": 1} and users.level == "note"
    assert items.numbers["train"] == 2 and items.numbers["any"] == 1 and items.level == "note"
    cold = shop.find(found, "cold pairs")
    assert dict(cold.numbers) == {"validation": 1, "test": 1} and cold.level == "note"


def test_many_ids_without_any_interaction_are_a_warning(toy: Dataset, shop: Any) -> None:
    found = interactions.check(replace(toy, items=60, modalities=()))
    assert shop.find(found, "items without").level == "warning"
    assert "not dense" in shop.find(found, "items without").sentence


def test_the_gini_coefficient_of_equal_and_of_one_sided_degrees() -> None:
    assert interactions._gini(np.full(7, 3)) == 0
    assert interactions._gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    values = np.random.default_rng(0).integers(0, 50, 40)
    pairs = np.abs(values[:, None] - values).mean()
    assert interactions._gini(values) == pytest.approx(pairs / (2 * values.mean()))


# -- defects


def test_every_defect_is_told_and_not_only_the_first(toy: Dataset, shop: Any) -> None:
    train = np.vstack([toy.train, toy.train[:3], toy.test[:2]])
    validation = np.vstack([toy.validation, toy.test[:1]])
    found = interactions.check(replace(toy, train=train, validation=validation))
    duplicates, leaks = shop.find(found, "duplicates"), shop.find(found, "leaks")
    assert duplicates.level == leaks.level == "error"
    assert dict(duplicates.numbers) == {"train": 3, "validation": 0, "test": 0}
    counts = {"train and validation": 1, "train and test": 2, "validation and test": 1}
    assert dict(leaks.numbers) == counts
    user, item = toy.test[0]
    assert f"user {user} with item {item}" in leaks.sentence


def test_ids_out_of_range_and_empty_splits_are_told_together(toy: Dataset, shop: Any) -> None:
    wrong = replace(toy, train=np.vstack([toy.train, [-1, 3], [40, 99]]), test=np.zeros((0, 2)))
    found = interactions.check(wrong)
    assert {(f.what, f.level) for f in found} == {
        ("user ids", "error"), ("item ids", "error"), ("test split", "error")
    }  # fmt: skip
    assert shop.find(found, "user ids").numbers["pairs"] == 2 and shop.find(found, "item ids").numbers["pairs"] == 1
    with pytest.raises(Exception, match="outside"):
        wrong.check()


# -- kinds of split


def labels(kind: str, pairs: NDArray, seed: int) -> NDArray:
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(pairs)), pairs[:, 0]))
    own = np.bincount(pairs[:, 0])
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(own) - own, own)  # among the user's, at random
    n = own[pairs[:, 0]]
    if kind == "leave one out":
        return np.where(place == 0, 2, np.where(place == 1, 1, 0))
    if kind == "per user":
        part = np.maximum(n * 15 // 100, 1)
        return np.where(place < part, 2, np.where(place < 2 * part, 1, 0))
    if kind == "random":
        return rng.choice(3, len(pairs), p=[0.8, 0.1, 0.1])
    late = pairs[:, 0] / pairs[:, 0].max()  # the later the user came, the more is held out
    return np.where(rng.random(len(pairs)) < 0.5 * late, rng.integers(1, 3, len(pairs)), 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["leave one out", "per user", "random", "other"])
def test_the_kind_of_split_is_inferred(kind: str, seed: int, shop: Any) -> None:
    base = shop.generated(seed=seed)
    pairs = everything(base)
    split = split_by(pairs, labels(kind, pairs, seed), base)
    found = shop.find(interactions.check(split), "split kind")
    assert (found.numbers["kind"], found.level) == (kind, "note")
    assert ("runs with the user id" in found.sentence) == (kind == "other")


def test_the_lattice_split_is_recognised(shop: Any) -> None:
    found = shop.find(interactions.check(shop.generated()), "split kind")
    assert (found.numbers["kind"], found.level) == ("lattice", "ok")
    assert found.numbers["spread_test"] < 0.5


def test_the_spread_of_random_splits_is_one_within_its_standard_error() -> None:
    rng = np.random.default_rng(3)
    own = rng.integers(1, 30, 300)
    found = [interactions._spread(rng.binomial(own, 0.1), own) for _ in range(400)]
    spreads = np.array([spread for spread, _ in found])
    assert abs(spreads.mean() - 1) < 0.02
    assert spreads.std() == pytest.approx(np.mean([error for _, error in found]), rel=0.15)


# -- ids


@pytest.mark.parametrize("kind", ["user", "item"])
def test_ids_that_run_by_popularity_are_noted(kind: str, shop: Any) -> None:
    base = shop.generated()
    column = ("user", "item").index(kind)
    rank = np.argsort(np.argsort(-base.degrees()[column], kind="stable"))  # the most frequent comes first
    changed = {}
    for split in SPLITS:
        pairs = getattr(base, split).copy()
        pairs[:, column] = rank[pairs[:, column]]
        changed[split] = pairs
    by_popularity = shop.find(interactions.check(replace(base, **changed)), f"{kind} id order")
    assert by_popularity.level == "note" and by_popularity.numbers["correlation"] < -0.9
    assert shop.find(interactions.check(base), f"{kind} id order").level == "ok"
