"""Batches: what is drawn, how often, and that a run's draws never change."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from tmfun import formats
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.recommender import Batch
from tmfun.sampling import are_pairs
from tmfun.training import Training


def batches(dataset: Dataset, training: Training, seed: int = 0, epochs: int = 1) -> list[Batch]:
    sampler = training.sampler(dataset, seed)
    return [batch for _ in range(epochs) for batch in sampler.epoch()]


def pairs(drawn: list[Batch], which: str) -> list[tuple[int, int]]:
    return [pair for b in drawn for pair in zip(b.users.tolist(), getattr(b, which).tolist(), strict=True)]


def pairs_of(dataset: Dataset, *splits: str) -> set[tuple[int, int]]:
    return {(user, item) for split in splits for user, item in getattr(dataset, split).tolist()}


MODES = [Training(batch_size=32), Training(batches="users", batch_size=16)]


def leaked(drawn: list[Batch], dataset: Dataset) -> set[tuple[int, int]]:
    """Held-out pairs that a model was shown as positives."""
    return set(pairs(drawn, "positives")) & pairs_of(dataset, "validation", "test")


@pytest.mark.parametrize("training", MODES, ids=lambda training: training.batches)
def test_no_held_out_pair_is_ever_a_positive(toy: Dataset, training: Training) -> None:
    drawn = batches(toy, training, epochs=60)
    assert set(pairs(drawn, "positives")) == pairs_of(toy, "train")
    assert not leaked(drawn, toy)


@pytest.mark.parametrize("training", MODES, ids=lambda training: training.batches)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_planted_leak_would_be_seen(toy: Dataset, training: Training, split: str) -> None:
    planted = getattr(toy, split)[17]
    other = Dataset("leaky", toy.users, toy.items, np.vstack([toy.train, planted]), toy.validation, toy.test)
    assert leaked(batches(other, training, epochs=60), toy) == {tuple(planted.tolist())}


@pytest.mark.parametrize("training", MODES, ids=lambda training: training.batches)
def test_negatives_are_never_in_the_training_set_and_held_out_items_are_drawn(toy: Dataset, training: Training) -> None:
    drawn = Counter(pairs(batches(toy, training, epochs=300), "negatives"))
    assert not set(drawn) & pairs_of(toy, "train")
    possible = {(user, item) for user in range(39) for item in range(toy.items)} - pairs_of(toy, "train")
    assert set(drawn) == possible
    share = sum(drawn[pair] for pair in pairs_of(toy, "validation", "test")) / drawn.total()
    by_user = Counter(pair[0] for pair in possible)
    of_user = Counter(user for (user, _), count in drawn.items() for _ in range(count))
    held_out = Counter(pair[0] for pair in pairs_of(toy, "validation", "test"))
    expected = sum(of_user[user] * held_out[user] / by_user[user] for user in by_user) / drawn.total()
    assert abs(share / expected - 1) < 0.05


def test_negatives_are_uniform_outside_the_training_set(toy: Dataset) -> None:
    sampler = Training().sampler(toy, seed=0)
    for user in (0, 11, 39):
        known = set(toy.train[toy.train[:, 0] == user][:, 1].tolist())
        drawn = sampler.negatives(torch.full((6000,), user)).numpy()
        counts = np.bincount(drawn, minlength=toy.items)
        free = [item for item in range(toy.items) if item not in known]
        assert counts[list(known)].sum() == 0
        assert stats.chisquare(counts[free]).pvalue > 1e-3


def test_a_user_with_one_item_left_gets_that_item() -> None:
    train = [(0, item) for item in range(9) if item != 4] + [(1, 0)]
    dataset = Dataset("d", 2, 9, np.array(train), np.array([[0, 4]]), np.array([[1, 1]]))
    assert set(Training().sampler(dataset, 0).negatives(torch.zeros(50, dtype=torch.int64)).tolist()) == {4}


def test_a_user_with_every_item_is_refused() -> None:
    train = [(0, 1), *((1, item) for item in range(4))]
    dataset = Dataset("full", 2, 4, np.array(train), np.array([[0, 0]]), np.array([[0, 2]]))
    with pytest.raises(InputError, match="full: user 1 has every item"):
        Training().sampler(dataset, 0)


@pytest.mark.parametrize("batch_size", [1, 32, 50, 10_000])
def test_an_epoch_of_interactions_holds_every_training_pair_once(toy: Dataset, batch_size: int) -> None:
    drawn = batches(toy, Training(batch_size=batch_size))
    assert sorted(pairs(drawn, "positives")) == sorted(map(tuple, toy.train.tolist()))
    sizes = [len(b.users) for b in drawn]
    assert len(sizes) == -(-len(toy.train) // batch_size)
    assert set(sizes[:-1]) <= {batch_size} and 1 <= sizes[-1] <= batch_size


def test_epochs_are_shuffled_anew(toy: Dataset) -> None:
    sampler = Training().sampler(toy, 0)
    first, second = (pairs(list(sampler.epoch()), "positives") for _ in range(2))
    assert first != second and sorted(first) == sorted(second)
    assert first != sorted(first)


@pytest.mark.parametrize("batch_size", [1, 8, 16, 38])
def test_batches_of_users_hold_distinct_users_with_a_pair_each(toy: Dataset, batch_size: int) -> None:
    drawn = batches(toy, Training(batches="users", batch_size=batch_size))
    assert len(drawn) == len(toy.train) // batch_size + 1
    for b in drawn:
        assert len(b.users) == len(b.users.unique()) == batch_size
    assert set(pairs(drawn, "positives")) <= pairs_of(toy, "train")


def test_a_batch_larger_than_the_users_holds_all_who_have_training_items(toy: Dataset) -> None:
    drawn = batches(toy, Training(batches="users", batch_size=64))
    assert len(drawn) == len(toy.train) // 64 + 1
    assert all(sorted(b.users.tolist()) == list(range(39)) for b in drawn)


def test_users_and_their_pairs_are_drawn_uniformly(toy: Dataset) -> None:
    drawn = batches(toy, Training(batches="users", batch_size=8), epochs=60)
    counts = Counter(pairs(drawn, "positives"))
    of_user = np.bincount([user for (user, _), count in counts.items() for _ in range(count)], minlength=40)
    assert stats.chisquare(of_user[:39]).pvalue > 1e-3
    user = int(toy.degrees()[0].argmax())
    own = [counts[pair] for pair in pairs_of(toy, "train") if pair[0] == user]
    assert len(own) > 5 and stats.chisquare(own).pvalue > 1e-3


def test_the_sampler_repeats_by_seed(toy: Dataset) -> None:
    for training in MODES:
        one, two, other = (batches(toy, training, seed, epochs=2) for seed in (5, 5, 6))
        for which in ("positives", "negatives"):
            assert pairs(one, which) == pairs(two, which)
            assert pairs(one, which) != pairs(other, which)


def test_the_sampler_does_not_see_modalities(toys: dict[str, Dataset]) -> None:
    one, two = (batches(toys[name], MODES[0]) for name in ("none", "three"))
    assert pairs(one, "negatives") == pairs(two, "negatives")


@pytest.mark.parametrize(
    ("training", "digest"),
    [
        (Training(batch_size=100), "fe016e466b975987"),
        (Training(batches="users", batch_size=1024), "120f0dde1c497d52"),
    ],
    ids=lambda value: getattr(value, "batches", ""),
)
def test_the_draws_are_those_of_all_records_so_far(training: Training, digest: str) -> None:
    """Of three epochs. Records made by other draws would be other runs, under another `numerics`."""
    drawn = hashlib.sha256()
    for batch in batches(formats.load("synthetic-small"), training, seed=3, epochs=3):
        for ids in (batch.users, batch.positives, batch.negatives):
            drawn.update(ids.numpy().tobytes())
    assert drawn.hexdigest()[:16] == digest


def test_pairs_are_found_among_sorted_keys(toy: Dataset) -> None:
    every = torch.arange(-1, toy.users * toy.items + 1)
    found = every[are_pairs(torch.from_numpy(toy.keys("train")), every)]
    assert [list(divmod(key, toy.items)) for key in found.tolist()] == toy.train.tolist()
