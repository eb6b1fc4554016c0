"""What a GPU would refuse, found without one: on another device, no tensor of the CPU takes part.

The other device is torch's "meta", which knows shapes and no numbers. Where an answer's shape depends on numbers, the
largest it can be stands in.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ablations.variants import variants
from baselines import MODELS, model_class
from baselines.latent_graph import LatentGraphRecommender
from tmfun.dataset import Dataset
from tmfun.model import TMFUN, Settings
from tmfun.ranking import Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.settings import read_settings
from tmfun.stacking import _Stack
from tmfun.training import Training

COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}  # they may cross
NOT_DETERMINISTIC = {  # there, by the documentation of torch.use_deterministic_algorithms; what models here could want
    *("cumsum", "histc", "bincount", "kthvalue", "median", "put_", "nll_loss2d_forward", "grid_sampler_2d_backward"),
    *("reflection_pad1d_backward", "replication_pad1d_backward", "avg_pool3d_backward", "_ctc_loss_backward"),
}
LEARNED = [name for name in MODELS if model_class(name).learned]


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, and those that a GPU has no deterministic way for. Numbers may
    come from anywhere: they have no dimensions."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        devices = {tensor.device.type for tensor in tensors}
        assert len(devices) < 2 or func in COPIES, f"{func} of tensors on {' and '.join(sorted(devices))}"
        assert func.overloadpacket.__name__ not in NOT_DETERMINISTIC, f"{func} differs from run to run on a GPU"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unique(ids: Tensor, return_inverse: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        return (ids.clone(), torch.arange(len(ids), device=ids.device)) if return_inverse else ids.clone()

    monkeypatch.setattr(Tensor, "unique", unique)
    # It builds a sparse matrix on the CPU, and takes it to its device.
    monkeypatch.setattr(LatentGraphRecommender, "_fuse", lambda model, edges: model._frozen())


def elsewhere(batch: Batch) -> Batch:
    return Batch(batch.users.to("meta"), batch.positives.to("meta"), batch.negatives.to("meta"))


def one_step_and_a_ranking(model: Recommender, batch: Batch) -> None:
    model.static_shapes = True
    with OneDevice():
        model.train()
        model.begin_epoch()
        for _ in range(2):  # the first of an epoch may rebuild something
            model.loss(batch).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and {gradient.device.type for gradient in gradients} == {"meta"}
        model.eval()
        with torch.no_grad():
            scores = model.scores(model.prepare_scores(), batch.users)
    assert scores.device.type == "meta" and scores.shape[0] == len(batch.users)


@pytest.mark.parametrize("name", LEARNED)
def test_a_step_and_a_ranking_stay_on_the_device(name: str, toy: Dataset, batch: Batch) -> None:
    kind = model_class(name)
    one_step_and_a_ranking(kind(toy, kind.settings_type(), 0).to("meta"), elsewhere(batch))


@pytest.mark.parametrize("name", [name for name, each in variants().items() if each.model == "tmfun" and each.changes])
def test_so_do_those_of_every_variant(name: str, toy: Dataset, batch: Batch) -> None:
    settings = read_settings(Settings, variants()[name].changes, name)
    if TMFUN.unusable(toy.card(), settings) is None:
        one_step_and_a_ranking(TMFUN(toy, settings, 0).to("meta"), elsewhere(batch))


@pytest.mark.parametrize("name", [name for name in LEARNED if model_class(name).stackable])
def test_so_does_the_loss_of_a_stack(name: str, toy: Dataset, batch: Batch) -> None:
    kind = model_class(name)
    stack = _Stack([kind(toy, kind.settings_type(), seed).to("meta") for seed in range(3)])
    users, positives, negatives = (torch.stack([ids] * 3) for ids in vars(elsewhere(batch)).values())
    with OneDevice():
        loss = stack.loss(stack.parameters, stack.numbers, users, positives, negatives)
        loss.sum().backward()
    assert loss.shape == (3,) and all(p.grad is not None for p in stack.trained)


def test_so_do_batches_and_ranks(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "nonzero", lambda mask: torch.arange(len(mask), device=mask.device).unsqueeze(1))
    sampler, ranking = Training().sampler(toy, 0, "meta"), Ranking(toy, "test", "meta")
    (users, *where), *_ = ranking.chunks
    with OneDevice():
        known = sampler._known(*sampler.pairs)
        ranks = ranking._rank(torch.empty(len(users), toy.items, device="meta"), *where)
    assert known.device.type == ranks.device.type == "meta"
    monkeypatch.setattr(Tensor, "nonzero", lambda mask: torch.empty((0, 1), dtype=torch.int64, device=mask.device))
    with OneDevice():
        (batch,) = sampler.epoch()
    assert {ids.device.type for ids in vars(batch).values()} == {"meta"}


def test_what_a_gpu_would_refuse_would_be_seen(toy: Dataset, batch: Batch) -> None:
    model = model_class("lightgcn")(toy, model_class("lightgcn").settings_type(), 0).to("meta")
    right = model.representations
    stray, ids = torch.ones(toy.users, 1), elsewhere(batch)
    for wrong, reason in (
        (lambda: (right()[0] * stray, right()[1]), "tensors on cpu and meta"),
        (lambda: (right()[0], right()[1][torch.arange(toy.items)]), "tensors on cpu and meta"),
        (lambda: (right()[0].cumsum(dim=1), right()[1]), "cumsum.* differs from run to run"),
    ):
        model.representations = wrong
        with pytest.raises(AssertionError, match=reason):
            one_step_and_a_ranking(model, ids)
