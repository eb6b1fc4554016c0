"""Stacked runs are the runs alone, up to the order of sums."""

import numpy as np
import pytest
import torch

from baselines import MODELS, model_class
from tmfun import formats
from tmfun.dataset import Dataset
from tmfun.ranking import NotFiniteError, Ranking
from tmfun.recommender import Recommender
from tmfun.stacking import fit_stacked
from tmfun.training import DivergedError, Fitted, Training, fit

STACKABLE = [name for name in MODELS if model_class(name).stackable]
SEEDS = (3, 0, 5)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return formats.load("synthetic[users=90,items=60,seed=4]")


def built(name: str, dataset: Dataset, **settings: object) -> list[Recommender]:
    kind = model_class(name)
    return [kind(dataset, kind.settings_type(**settings), seed) for seed in SEEDS]


def alone(models: list[Recommender], dataset: Dataset, training: Training) -> list[Fitted]:
    return [fit(model, dataset, training, seed) for model, seed in zip(models, SEEDS, strict=True)]


def test_the_models_that_the_studies_repeat_most_are_stackable() -> None:
    assert {"tmfun", "lightgcn", "mf-bpr", "vbpr"} <= set(STACKABLE)


@pytest.mark.parametrize("name", STACKABLE)
@pytest.mark.parametrize("batches", ["interactions", "users"])
def test_a_stack_trains_as_its_runs_do_alone(name: str, batches: str, dataset: Dataset) -> None:
    training = Training(max_epochs=4, evaluate_every=2, batch_size=64, learning_rate=1e-2, batches=batches)
    apart, together = built(name, dataset), built(name, dataset)
    expected = alone(apart, dataset, training)
    found = fit_stacked(together, dataset, training, SEEDS)
    for one, other, wanted, got in zip(apart, together, expected, found, strict=True):
        assert isinstance(got, Fitted)
        assert (got.best_epoch, got.epochs) == (wanted.best_epoch, wanted.epochs)
        for step, reference in zip(got.history, wanted.history, strict=True):
            assert step == pytest.approx(reference, rel=1e-4)
        for split in ("validation", "test"):
            assert np.mean(got.ranks[split] == wanted.ranks[split]) > 0.98
        for name_, parameter in one.named_parameters():
            torch.testing.assert_close(dict(other.named_parameters())[name_], parameter, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": False},
        {"contrast": False},
        {"modalities": ()},
        {"encoder": "mf"},
        {"item_graph": "off"},
        {"item_graph": "concatenated"},
        {"item_graph_input": "features"},
        {"modality_graph": False},
        {"heads": 4},
        {"attention_query": "none"},
        {"attention_query": "id"},
        {"fusion": "single-step", "contrast_pair": "modality-fused"},
    ],
    ids=str,
)
def test_every_variant_of_tmfun_stacks(settings: dict, dataset: Dataset) -> None:
    training = Training(max_epochs=1, batch_size=64, learning_rate=1e-2)
    expected = alone(built("tmfun", dataset, **settings), dataset, training)
    found = fit_stacked(built("tmfun", dataset, **settings), dataset, training, SEEDS)
    for wanted, got in zip(expected, found, strict=True):
        assert isinstance(got, Fitted)
        assert got.history[-1] == pytest.approx(wanted.history[-1], rel=1e-4)


def test_runs_leave_the_stack_one_by_one_and_the_others_go_on_as_before(dataset: Dataset) -> None:
    training = Training(max_epochs=40, evaluate_every=1, patience=2, batch_size=64, learning_rate=3e-2)
    expected = alone(built("lightgcn", dataset), dataset, training)
    assert len({fitted.epochs for fitted in expected}) > 1, "the runs must end at different times"
    found = fit_stacked(built("lightgcn", dataset), dataset, training, SEEDS)
    assert [fitted.epochs for fitted in found] == [fitted.epochs for fitted in expected]
    for wanted, got in zip(expected, found, strict=True):
        assert [len(times) for times in got.seconds.values()] == [wanted.epochs, wanted.epochs]


def test_a_run_that_diverges_or_ranks_no_numbers_leaves_the_others_alone(dataset: Dataset) -> None:
    training = Training(max_epochs=2, evaluate_every=2, batch_size=64)
    expected = alone(built("mf-bpr", dataset), dataset, training)
    models = built("mf-bpr", dataset)
    with torch.no_grad():
        models[1].user_embedding.fill_(torch.nan)
    first, second, third = fit_stacked(models, dataset, training, SEEDS)
    assert isinstance(second, DivergedError)
    for got, wanted in ((first, expected[0]), (third, expected[2])):
        assert got.history[-1] == pytest.approx(wanted.history[-1], rel=1e-4)

    class Unranked(type(models[0])):
        def scores(self, prepared, users):
            return super().scores(prepared, users) * torch.nan

    models = built("mf-bpr", dataset)
    for model in models:
        model.__class__ = Unranked
    assert all(isinstance(result, NotFiniteError) for result in fit_stacked(models, dataset, training, SEEDS))


def test_what_cannot_be_stacked_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="LATTICE cannot"):
        fit_stacked(built("lattice", dataset), dataset, Training(), SEEDS)
    with pytest.raises(ValueError, match="row-adam cannot train a stack"):
        fit_stacked(built("mf-bpr", dataset), dataset, Training(optimiser="row-adam"), SEEDS)
    mixed = [*built("lightgcn", dataset)[:1], *built("mf-bpr", dataset)[:2]]
    with pytest.raises(ValueError, match="LightGCN, MFBPR"):
        fit_stacked(mixed, dataset, Training(), SEEDS)


def test_models_are_left_at_their_best_epoch(dataset: Dataset) -> None:
    training = Training(max_epochs=12, evaluate_every=1, patience=3, batch_size=64, learning_rate=3e-2)
    models = built("lightgcn", dataset)
    found = fit_stacked(models, dataset, training, SEEDS)
    for model, fitted in zip(models, found, strict=True):
        np.testing.assert_array_equal(Ranking(dataset, "test").ranks(model), fitted.ranks["test"])
        assert not model.static_shapes
