"""Estimates: from records where there are any, and in words."""

from dataclasses import replace

import numpy as np
import pytest

from ablations.costs import GROWTH, START, Estimator, spoken
from ablations.records import Store
from ablations.specification import specify
from tmfun.dataset import Dataset
from tmfun.training import Training


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_the_first_guess_grows_with_epochs_and_ends_where_records_begin(store: Store, toy: Dataset) -> None:
    short, long = (specify(toy.card(), "lightgcn", {}, Training(max_epochs=epochs), 0, "") for epochs in (1, 50))
    guess = Estimator(store)
    assert START < guess.seconds(short, toy.card()) < guess.seconds(long, toy.card())
    for seed, total in enumerate((7.0, 9.0, 50.0)):
        run = specify(toy.card(), "lightgcn", {}, Training(), seed, "")
        ranks = {split: np.ones(len(getattr(toy, split)), dtype=np.int32) for split in ("validation", "test")}
        store.write(run, toy, ranks, {}, {"proxies": []}, {"seconds": {"total": total}, "device": "cpu"})
    store.refresh()
    assert Estimator(store).seconds(long, toy.card()) == 9.0
    first = guess.seconds(long, toy.card())
    assert Estimator(store, "some GPU").seconds(long, toy.card()) == first, "a CPU's records say nothing of a GPU"
    run = specify(toy.card(), "lightgcn", {}, Training(), 3, "")
    store.write(run, toy, ranks, {}, {"proxies": []}, {"seconds": {"total": 2.0}, "device": "some GPU"})
    store.refresh()
    assert Estimator(store, "some GPU").seconds(long, toy.card()) == 2.0
    assert Estimator(store).seconds(long, toy.card()) == 9.0


def test_a_data_set_without_records_costs_what_the_nearest_in_size_does_in_proportion(
    store: Store, toys: dict[str, Dataset]
) -> None:
    many = replace(toys["none"], name="many")
    fewer = replace(many, name="fewer", train=many.train[:60])
    for dataset, total in ((many, 8.0), (fewer, 1.0)):
        run = specify(dataset.card(), "lightgcn", {}, Training(), 0, "")
        ranks = {split: np.ones(len(getattr(dataset, split)), dtype=np.int32) for split in ("validation", "test")}
        store.write(run, dataset, ranks, {}, {"proxies": []}, {"seconds": {"total": total}, "device": "cpu"})
    store.refresh()
    card = replace(many.card(), name="new", content_hash="new", train=4 * len(many.train))
    wanted = specify(card, "lightgcn", {}, Training(), 0, "")
    assert Estimator(store).seconds(wanted, card) == pytest.approx(8.0 * 4**GROWTH)
