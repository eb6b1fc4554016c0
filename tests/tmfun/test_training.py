from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.lightgcn import LightGCN
from baselines.lightgcn import Settings as LightGCNSettings
from baselines.popularity import Popularity
from baselines.popularity import Settings as PopularitySettings
from tmfun.dataset import Dataset
from tmfun.model import TMFUN
from tmfun.model import Settings as TMFUNSettings
from tmfun.ranking import NotFiniteError, Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.settings import read_settings
from tmfun.training import SETTINGS, DivergedError, Training, be_deterministic, fit

SMALL = TMFUNSettings(dimension=8, neighbours=4)


def lightgcn(dataset: Dataset, seed: int = 0) -> LightGCN:
    return LightGCN(dataset, LightGCNSettings(dimension=8), seed)


# -- a run as a whole


@pytest.mark.parametrize("batches", ["interactions", "users"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(toy: Dataset, batches: Any) -> None:
    training = Training(learning_rate=0.01, batches=batches, batch_size=32, max_epochs=6)
    models = [TMFUN(toy, SMALL, seed=3) for _ in range(2)]
    one, two = (fit(model, toy, training, seed=3) for model in models)
    assert one.history == two.history
    assert (one.best_epoch, one.epochs) == (two.best_epoch, two.epochs)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(one.ranks[split], two.ranks[split])
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name])


def test_another_seed_gives_another_run(toy: Dataset) -> None:
    training = Training(learning_rate=0.01, batch_size=32, max_epochs=6)
    one, two = (fit(TMFUN(toy, SMALL, seed), toy, training, seed) for seed in (3, 4))
    assert one.history != two.history
    assert (one.ranks["test"] != two.ranks["test"]).any()


def test_the_sampler_alone_makes_another_run(toy: Dataset) -> None:
    training = Training(learning_rate=0.01, batch_size=32, max_epochs=2)
    one, two = (fit(lightgcn(toy, seed=0), toy, training, seed) for seed in (0, 1))
    assert one.history != two.history


def test_training_consumes_no_global_random_numbers(toy: Dataset) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit(TMFUN(toy, SMALL, 0), toy, Training(batch_size=64, max_epochs=1), seed=0)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_a_model_that_only_counts_is_just_ranked(toy: Dataset) -> None:
    model = Popularity(toy, PopularitySettings(), 0)
    fitted = fit(model, toy, Training(), seed=0)
    assert (fitted.best_epoch, fitted.epochs, fitted.history) == (0, 0, [])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(fitted.ranks[split], Ranking(toy, split).ranks(model))


def test_a_process_can_be_made_deterministic() -> None:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        be_deterministic(2)
        assert torch.get_num_threads() == 2 and torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


# -- early stopping, with a model whose validation results follow a script


class Scripted(Recommender):
    """At epoch n, script[n - 1] of the validation users have their item on top; test ranks differ by epoch."""

    def __init__(self, dataset: Dataset, script: Iterable[int]) -> None:
        super().__init__(dataset, None, 0)
        self.script = list(script)
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("age", torch.zeros((), dtype=torch.long))
        self.dataset = dataset
        self.rates: list[float] = []
        self.weights: list[float] = []

    def begin_epoch(self) -> None:
        self.age += 1
        self.weights.append(float(self.weight.detach()))

    def loss(self, batch: Batch) -> Tensor:
        return self.weight * 1

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        age = int(self.age)
        table = torch.linspace(-1, 0, self.dataset.items).repeat(self.dataset.users, 1)
        for user, item in self.dataset.validation:
            table[user, item] = 5.0 if user < self.script[age - 1] else -5.0
        for user, item in self.dataset.test:
            table[user, item] = -1 + age / 20
        return table[users]

    def prepare_scores(self) -> None:
        return None


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """10 users, 40 items; user n trains on item n, is validated on 10 + n and tested on 20 + n."""
    n = np.arange(10)
    pairs = (np.column_stack([n, n + start]) for start in (0, 10, 20))
    return Dataset("rows", 10, 40, *pairs).check()


def run(dataset: Dataset, script: list[int], **training: Any) -> tuple[Scripted, Any]:
    model = Scripted(dataset, script)
    settings = Training(**{"max_epochs": len(script), "evaluate_every": 1, "select_by": "hit@1", **training})
    return model, fit(model, dataset, settings, seed=0)


def hits(fitted: Any) -> list[int]:
    return [round(10 * entry["hit@1"]) for entry in fitted.history]


def test_the_best_epoch_wins_and_the_model_is_left_there(rows: Dataset) -> None:
    script = [1, 4, 8, 2, 6]
    model, fitted = run(rows, script)
    assert hits(fitted) == script
    assert (fitted.best_epoch, fitted.epochs, int(model.age)) == (3, 5, 3)
    expected = Scripted(rows, script)
    expected.age += 3
    for split in ("validation", "test"):
        np.testing.assert_array_equal(fitted.ranks[split], Ranking(rows, split).ranks(expected))
    other = Scripted(rows, script)
    other.age += 5
    assert (Ranking(rows, "test").ranks(other) != fitted.ranks["test"]).all(), "epochs can be told apart"


def test_of_equal_epochs_the_first_wins(rows: Dataset) -> None:
    assert run(rows, [1, 7, 3, 7, 7])[1].best_epoch == 2


def test_a_model_that_never_hits_is_left_at_its_first_evaluation(rows: Dataset) -> None:
    model, fitted = run(rows, [0, 0, 0])
    assert (fitted.best_epoch, int(model.age)) == (1, 1)


def test_training_stops_after_patience_evaluations_without_a_new_best(rows: Dataset) -> None:
    fitted = run(rows, [2, 5, 1, 4, 5, 9, 9], patience=3)[1]
    assert (fitted.best_epoch, fitted.epochs, hits(fitted)) == (2, 5, [2, 5, 1, 4, 5])


def test_a_new_best_starts_patience_anew(rows: Dataset) -> None:
    fitted = run(rows, [2, 1, 1, 3, 1, 1, 4, 1, 1, 1, 1], patience=3)[1]
    assert (fitted.best_epoch, fitted.epochs) == (7, 10)


def test_patience_counts_evaluations_not_epochs(rows: Dataset) -> None:
    fitted = run(rows, [0, 5, 9, 1, 9, 1, 9, 9], evaluate_every=2, patience=2)[1]
    assert [entry["epoch"] for entry in fitted.history] == [2, 4, 6]
    assert (fitted.best_epoch, fitted.epochs, hits(fitted)) == (2, 6, [5, 1, 1])


def test_the_last_epoch_is_always_evaluated(rows: Dataset) -> None:
    fitted = run(rows, [0, 0, 1, 0, 0, 2, 3], evaluate_every=3)[1]
    assert [entry["epoch"] for entry in fitted.history] == [3, 6, 7]
    assert (fitted.best_epoch, fitted.epochs) == (7, 7)


def test_training_ends_at_max_epochs(rows: Dataset) -> None:
    fitted = run(rows, [1, 2, 3, 4, 5], max_epochs=4)[1]
    assert (fitted.best_epoch, fitted.epochs, len(fitted.seconds["epoch"])) == (4, 4, 4)


def test_selection_follows_the_chosen_metric(rows: Dataset) -> None:
    """hit@1 and ndcg@40 agree, but at recall@40 every epoch is perfect: the first wins."""
    script = [1, 4, 2]
    assert run(rows, script, select_by="ndcg@40")[1].best_epoch == 2
    fitted = run(rows, script, select_by="recall@40")[1]
    assert fitted.best_epoch == 1
    assert [entry["recall@40"] for entry in fitted.history] == [1, 1, 1]


def test_progress_is_told_after_every_evaluation(rows: Dataset) -> None:
    told: list[dict[str, Any]] = []
    settings = Training(max_epochs=4, evaluate_every=2, select_by="hit@1")
    fitted = fit(Scripted(rows, [0, 3, 0, 1]), rows, settings, seed=0, progress=told.append)
    assert [(entry["epoch"], entry["best_epoch"], entry["best"]) for entry in told] == [(2, 2, 0.3), (4, 2, 0.3)]
    assert [{key: entry[key] for key in fitted.history[0]} for entry in told] == fitted.history


def test_history_holds_the_mean_loss_since_the_last_evaluation(rows: Dataset) -> None:
    model, fitted = run(rows, [1, 1, 1, 1], evaluate_every=2, batch_size=10, learning_rate=0.5)
    losses = np.array(model.weights)  # with one batch an epoch the loss is the weight at its start
    np.testing.assert_allclose(
        [entry["loss"] for entry in fitted.history], losses.reshape(2, 2).mean(axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_learning_rate_decays_by_epoch(rows: Dataset, decay: float) -> None:
    """Under a constant gradient, each step of Adam is as long as the learning rate."""
    model = run(rows, [1] * 60, decay=decay, learning_rate=0.1, batch_size=10, patience=100)[0]
    steps = -np.diff(model.weights)
    np.testing.assert_allclose(steps, 0.1 * decay ** (np.arange(59) / 50), rtol=1e-3)


class Broken(Scripted):
    """A loss that is NaN from the third epoch on."""

    def loss(self, batch: Batch) -> Tensor:
        return self.weight * (torch.nan if int(self.age) > 2 else 1)


def test_a_loss_that_is_no_number_ends_training(rows: Dataset) -> None:
    with pytest.raises(DivergedError, match="the loss is nan in epoch 3"):
        fit(Broken(rows, [1] * 5), rows, Training(max_epochs=5), seed=0)


class Exploding(Scripted):
    """Scores that are NaN at the second epoch."""

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        return super().scores(prepared, users) * (torch.nan if int(self.age) == 2 else 1)


def test_scores_that_are_no_numbers_end_training(rows: Dataset) -> None:
    with pytest.raises((DivergedError, NotFiniteError), match="not finite"):
        fit(Exploding(rows, [1] * 5), rows, Training(max_epochs=5, evaluate_every=1), seed=0)


# -- named settings


def test_the_named_settings_are_those_of_the_protocol() -> None:
    assert SETTINGS["suite"] == Training() == read_settings(Training, {}, "here")
    suite = asdict(SETTINGS["suite"])
    assert (suite["learning_rate"], suite["decay"], suite["batches"], suite["batch_size"]) == (
        1e-3,
        1,
        "interactions",
        2048,
    )
    assert (suite["max_epochs"], suite["evaluate_every"], suite["patience"], suite["select_by"]) == (
        1000,
        2,
        10,
        "recall@20",
    )
    lattice = asdict(SETTINGS["lattice"])
    assert (lattice["learning_rate"], lattice["decay"], lattice["batches"], lattice["batch_size"]) == (
        5e-4,
        0.96,
        "users",
        1024,
    )
    assert (lattice["max_epochs"], lattice["evaluate_every"], lattice["patience"]) == (200, 5, 10)
    mmrec = asdict(SETTINGS["mmrec"])
    assert (mmrec["learning_rate"], mmrec["batches"], mmrec["batch_size"]) == (1e-3, "interactions", 2048)
    assert (mmrec["evaluate_every"], mmrec["patience"]) == (1, 20)
