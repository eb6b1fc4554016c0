"""The plain references compute what the fast ways compute: else their times compare nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ablations.speed import plain
from ablations.speed.bench import MODELS
from baselines import model_class
from tmfun import graphs
from tmfun.dataset import Dataset
from tmfun.graphs import interaction_graph
from tmfun.model import TMFUN, Settings
from tmfun.ranking import Ranking
from tmfun.recommender import Batch, Recommender, info_nce
from tmfun.sampling import Sampler

Perturb = Callable[[Recommender], Recommender]


def loss_and_gradients(model: Recommender, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.train()
    model.begin_epoch()
    loss = model.loss(batch)
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def same_step(make: Callable[[], Recommender], batch: Batch, perturb: Perturb) -> None:
    fast = loss_and_gradients(perturb(make()), batch)
    with plain.parts():
        obvious = loss_and_gradients(perturb(make()), batch)
    assert obvious[0] == pytest.approx(fast[0], rel=1e-5)
    assert obvious[1].keys() == fast[1].keys()
    for name, gradient in fast[1].items():
        torch.testing.assert_close(obvious[1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_a_model_has_the_same_loss_and_gradients(
    name: str, toy: Dataset, batch: Batch, perturb: Perturb
) -> None:
    kind = model_class(name)
    same_step(lambda: kind(toy, kind.settings_type(), 0), batch, perturb)


@pytest.mark.parametrize("toy_name", ["neighbours", "three", "none"])
@pytest.mark.parametrize("changes", [{}, {"modality_graph": False}, {"item_graph": "off", "modality_layers": 2}])
def test_so_has_tmfun_with_other_switches_and_modalities(
    toys: dict[str, Dataset], toy_name: str, changes: dict, batch: Batch, perturb: Perturb
) -> None:
    only = {"modalities": ()} if toy_name == "none" else {}
    settings = Settings(dimension=8, neighbours=3, **{**changes, **only})
    same_step(lambda: TMFUN(toys[toy_name], settings, 1), batch, perturb)


def test_the_parts_are_in_place_inside_and_gone_outside(toy: Dataset) -> None:
    graph, x = interaction_graph(toy), torch.ones(toy.users + toy.items, 3)
    before = graphs._Product, graphs._LayerMean, TMFUN.loss
    x.requires_grad_()
    with plain.parts():
        assert TMFUN.loss is plain.tmfun_loss
        ways = graph @ x, graphs.propagate(graph, x), graphs.lightgcn_layers(graph, x, 1)
        assert ["SparseAddmm" in type(way.grad_fn).__name__ for way in ways[:2]] == [True, True]
        assert "Mean" in type(ways[2].grad_fn).__name__
    assert before == (graphs._Product, graphs._LayerMean, TMFUN.loss)


def test_contrast_is_two_cross_entropies() -> None:
    a, b = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0))
    fast = info_nce(a, b, 0.2)
    with plain.parts():
        assert float(info_nce(a, b, 0.2)) == pytest.approx(float(fast), rel=1e-5)


def test_ranks_are_the_same_ties_included(toy: Dataset, perturb: Perturb) -> None:
    for name in ("lightgcn", "popularity"):
        kind = model_class(name)
        model = perturb(kind(toy, kind.settings_type(), 0))
        for split in ("validation", "test"):
            assert np.array_equal(plain.ranks(model, toy, split), Ranking(toy, split).ranks(model))


def test_the_loop_draws_the_same_pairs_and_items_that_users_do_not_know(toy: Dataset) -> None:
    fast, loop = (list(kind(toy, 64, 3).epoch()) for kind in (Sampler, plain.LoopSampler))
    known = {tuple(pair) for pair in toy.train.tolist()}
    for a, b in zip(fast, loop, strict=True):
        assert torch.equal(a.users, b.users) and torch.equal(a.positives, b.positives)
        drawn = zip(b.users.tolist(), b.negatives.tolist(), strict=True)
        assert not known.intersection(drawn)


def test_nearest_are_the_same() -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    for a, b in zip(plain.nearest(features, 7), graphs.nearest(features, 7), strict=True):
        torch.testing.assert_close(a, b)
