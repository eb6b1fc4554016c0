"""Compiled steps: the same training up to the order of sums, in one program, for the models that say they can."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from baselines import MODELS, model_class
from tmfun.dataset import Dataset
from tmfun.recommender import Recommender
from tmfun.training import Fitted, Training, fit

TRAINING = Training(learning_rate=0.01, batch_size=64, max_epochs=3, evaluate_every=1)
STACKABLE = [name for name in MODELS if model_class(name).learned and model_class(name).stackable]
COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    """The compiler gives up after some programs of one function; each test starts from none."""
    torch.compiler.reset()


def trained(name: str, dataset: Dataset, training: Training, **switches: Any) -> Fitted:
    kind = model_class(name)
    return fit(kind(dataset, replace(kind.settings_type(), dimension=6, **switches), 0), dataset, training, seed=0)


def agree(one: Fitted, two: Fitted) -> None:
    assert [entry["epoch"] for entry in one.history] == [entry["epoch"] for entry in two.history]
    np.testing.assert_allclose(
        [entry["loss"] for entry in one.history], [entry["loss"] for entry in two.history], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        *((name, {}) for name in STACKABLE),
        ("tmfun", {"item_graph": "concatenated", "fusion": "single-step", "contrast_pair": "modality-fused"}),
        ("tmfun", {"modality_graph": False, "item_graph": "off", "attention": False}),
    ],
)
def test_a_compiled_loss_is_one_program_and_trains_the_same(
    name: str, switches: dict[str, Any], toy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is traced, forward and backward, is what is compiled; here it runs without the machine's compiler."""
    asked: dict[str, Any] = {}

    def traced(model: Recommender, **how: Any) -> None:
        asked.update(how)
        nn.Module.compile(model, backend="aot_eager", **{key: how[key] for key in ("fullgraph", "dynamic")})

    monkeypatch.setattr(Recommender, "compile", traced)
    compiled = trained(name, toy, replace(TRAINING, compiled=True), **switches)
    assert asked["fullgraph"] is True and asked["options"]["deterministic"], "asked for one program, chosen by no clock"
    agree(compiled, trained(name, toy, TRAINING, **switches))


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
def test_the_machines_compiler_gives_the_same_too(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config, "fx_graph_cache", False)
    monkeypatch.setattr(torch._functorch.config, "enable_autograd_cache", False)
    compiled, found = replace(TRAINING, compiled=True), []
    for _ in range(2):
        torch.compiler.reset()
        found.append(trained("lightgcn", toy, compiled))
    agree(found[0], trained("lightgcn", toy, TRAINING))
    assert found[0].history == found[1].history, "the same bits whenever it is compiled"


def test_models_that_are_not_stackable_are_refused() -> None:
    for name in MODELS:
        kind = model_class(name)
        reason = Training(compiled=True).unusable(kind)
        assert bool(reason) == (kind.learned and not kind.stackable), name
        assert not reason or "none of them" in reason
    assert "sparse" in str(Training(compiled=True, optimiser="row-adam").unusable(model_class("mf-bpr")))
