"""Stacked runs are the runs alone, up to the order of sums."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from baselines import MODELS, model_class
from tmfun import formats
from tmfun.dataset import Dataset
from tmfun.ranking import NotFiniteError, Ranking
from tmfun.recommender import Recommender
from tmfun.settings import per_run
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


def grid(name: str, training: Training) -> list[tuple[Any, Training]]:
    """Points over all numbers of the model's and of training's own: all of the model's far above their defaults, then
    each at 0 or, where 0 is not allowed, at its default; a lower rate, and one that decays."""
    kind = model_class(name).settings_type
    numbers = [field for field in fields(kind) if field.name in per_run(kind)]
    large = kind(**{field.name: 20 * field.default for field in numbers})
    small = {field.name: 0.0 if field.metadata["least"] == 0 else field.default for field in numbers}
    return [
        (large, training),
        *((replace(large, **{number: value}), training) for number, value in small.items()),
        (large, replace(training, learning_rate=training.learning_rate / 3)),
        (large, replace(training, decay=1e-6)),
    ]


def test_the_models_that_the_studies_repeat_most_are_stackable() -> None:
    assert {"tmfun", "lightgcn", "mf-bpr", "vbpr"} <= set(STACKABLE)


@pytest.mark.parametrize("name", STACKABLE)
@pytest.mark.parametrize("batches", ["interactions", "users"])
def test_a_stack_trains_as_its_runs_do_alone(name: str, batches: str, dataset: Dataset) -> None:
    training = Training(max_epochs=4, evaluate_every=2, batch_size=64, learning_rate=1e-2, batches=batches)
    apart, together = built(name, dataset), built(name, dataset)
    expected = alone(apart, dataset, training)
    found = fit_stacked(together, dataset, [training] * 3, SEEDS)
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
    found = fit_stacked(built("tmfun", dataset, **settings), dataset, [training] * 3, SEEDS)
    for wanted, got in zip(expected, found, strict=True):
        assert isinstance(got, Fitted)
        assert got.history[-1] == pytest.approx(wanted.history[-1], rel=1e-4)


@pytest.mark.parametrize("name", STACKABLE)
def test_a_grid_of_numbers_trains_in_one_stack_as_its_points_do_alone(name: str, dataset: Dataset) -> None:
    kind = model_class(name)
    points = grid(name, Training(max_epochs=4, evaluate_every=2, batch_size=64, learning_rate=1e-2))
    assert "l2" in per_run(kind.settings_type)
    runs = [(settings, training, seed) for seed in SEEDS[:2] for settings, training in points]
    expected = [fit(kind(dataset, settings, seed), dataset, training, seed) for settings, training, seed in runs]
    losses = [fitted.history[-1]["loss"] for fitted in expected]
    for i, one in enumerate(losses):
        assert all(abs(one / other - 1) > 2e-4 for other in losses[:i]), (
            "every number must matter, and by more than the tolerance"
        )

    models = [kind(dataset, settings, seed) for settings, _, seed in runs]
    _, trainings, seeds = zip(*runs, strict=True)
    found = fit_stacked(models, dataset, trainings, seeds)
    for model, (settings, _, _), wanted, got in zip(models, runs, expected, found, strict=True):
        assert isinstance(got, Fitted)
        assert got.best_epoch == wanted.best_epoch
        for step, reference in zip(got.history, wanted.history, strict=True):
            assert step == pytest.approx(reference, rel=1e-4)
        for split in ("validation", "test"):
            assert np.mean(got.ranks[split] == wanted.ranks[split]) > 0.98
        assert model.settings is settings


@pytest.mark.parametrize("name", ["mf-bpr", "tmfun"])
def test_points_of_a_grid_diverge_and_end_while_others_go_on(name: str, dataset: Dataset) -> None:
    kind, training = model_class(name), Training(max_epochs=14, evaluate_every=1, patience=2, batch_size=64)
    points = [(1e-3, 1e-2), (1e-3, 1e30), (1e38, 1e-2), (1e-3, 2e-2), (0.0, 3e-3)]  # l2, learning rate
    settings = [kind.settings_type(l2=l2) for l2, _ in points]
    trainings = [replace(training, learning_rate=rate) for _, rate in points]
    expected: list[Fitted | str] = []
    for own, course in zip(settings, trainings, strict=True):
        try:
            expected.append(fit(kind(dataset, own, 3), dataset, course, 3))
        except (DivergedError, NotFiniteError) as error:
            expected.append(str(error))
    assert [isinstance(wanted, str) for wanted in expected] == [False, True, True, False, False]
    assert len({wanted.epochs for wanted in expected if isinstance(wanted, Fitted)}) > 1, "they must end apart"

    found = fit_stacked([kind(dataset, own, 3) for own in settings], dataset, trainings, [3] * len(points))
    for got, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, str):
            assert str(got) == wanted
        else:
            assert isinstance(got, Fitted)
            assert (got.epochs, got.best_epoch) == (wanted.epochs, wanted.best_epoch)
            for step, reference in zip(got.history, wanted.history, strict=True):
                assert step == pytest.approx(reference, rel=1e-3)


def test_who_watches_is_told_which_run_it_is(dataset: Dataset) -> None:
    seen: list[tuple[int, float]] = []
    training = Training(max_epochs=2, evaluate_every=1, batch_size=64)
    models = [model_class("mf-bpr")(dataset, model_class("mf-bpr").settings_type(l2=l2), 0) for l2 in (0.0, 0.1)]
    fit_stacked(models, dataset, [training] * 2, [0, 0], progress=lambda run, state: seen.append((run, state["epoch"])))
    assert seen == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_runs_leave_the_stack_one_by_one_and_the_others_go_on_as_before(dataset: Dataset) -> None:
    training = Training(max_epochs=40, evaluate_every=1, patience=2, batch_size=64, learning_rate=3e-2)
    expected = alone(built("lightgcn", dataset), dataset, training)
    assert len({fitted.epochs for fitted in expected}) > 1, "the runs must end at different times"
    found = fit_stacked(built("lightgcn", dataset), dataset, [training] * 3, SEEDS)
    assert [fitted.epochs for fitted in found] == [fitted.epochs for fitted in expected]
    for wanted, got in zip(expected, found, strict=True):
        assert [len(times) for times in got.seconds.values()] == [wanted.epochs, wanted.epochs]


def test_a_run_that_diverges_or_ranks_no_numbers_leaves_the_others_alone(dataset: Dataset) -> None:
    training = Training(max_epochs=2, evaluate_every=2, batch_size=64)
    expected = alone(built("mf-bpr", dataset), dataset, training)
    models = built("mf-bpr", dataset)
    with torch.no_grad():
        models[1].user_embedding.fill_(torch.nan)
    first, second, third = fit_stacked(models, dataset, [training] * 3, SEEDS)
    assert isinstance(second, DivergedError)
    for got, wanted in ((first, expected[0]), (third, expected[2])):
        assert got.history[-1] == pytest.approx(wanted.history[-1], rel=1e-4)

    class Unranked(type(models[0])):
        def scores(self, prepared, users):
            return super().scores(prepared, users) * torch.nan

    models = built("mf-bpr", dataset)
    for model in models:
        model.__class__ = Unranked
    assert all(isinstance(result, NotFiniteError) for result in fit_stacked(models, dataset, [training] * 3, SEEDS))


def test_what_cannot_be_stacked_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="LATTICE cannot"):
        fit_stacked(built("lattice", dataset), dataset, [Training()] * 3, SEEDS)
    with pytest.raises(ValueError, match="row-adam cannot train a stack"):
        fit_stacked(built("mf-bpr", dataset), dataset, [Training(optimiser="row-adam")] * 3, SEEDS)
    mixed = [*built("lightgcn", dataset)[:1], *built("mf-bpr", dataset)[:2]]
    with pytest.raises(ValueError, match="LightGCN, MFBPR"):
        fit_stacked(mixed, dataset, [Training()] * 3, SEEDS)
    switched = [*built("tmfun", dataset)[:2], *built("tmfun", dataset, attention=False, l2=0.1)[:1]]
    with pytest.raises(ValueError, match="that differ in attention cannot"):
        fit_stacked(switched, dataset, [Training()] * 3, SEEDS)
    trainings = [Training(), Training(learning_rate=1e-2), Training(patience=3, batch_size=64)]
    with pytest.raises(ValueError, match="that differ in batch_size, patience cannot"):
        fit_stacked(built("mf-bpr", dataset), dataset, trainings, SEEDS)


def test_models_are_left_at_their_best_epoch(dataset: Dataset) -> None:
    training = Training(max_epochs=12, evaluate_every=1, patience=3, batch_size=64, learning_rate=3e-2)
    models = built("lightgcn", dataset)
    found = fit_stacked(models, dataset, [training] * 3, SEEDS)
    for model, fitted in zip(models, found, strict=True):
        np.testing.assert_array_equal(Ranking(dataset, "test").ranks(model), fitted.ranks["test"])
        assert not model.static_shapes
