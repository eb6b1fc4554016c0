import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.mf_bpr import Settings
from tmfun.dataset import Dataset
from tmfun.recommender import LEAST_TEMPERATURE, Batch, PairwiseRecommender, Recommender, info_nce, pairwise_loss


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_pairwise_loss_is_bpr_with_l2_on_the_batch(batch: Batch, l2: float) -> None:
    z_u, z_i = randn(40, 5), randn(30, 5, seed=1)
    total = squares = 0.0
    for u, i, j in zip(batch.users.tolist(), batch.positives.tolist(), batch.negatives.tolist(), strict=True):
        difference = float(z_u[u] @ z_i[i] - z_u[u] @ z_i[j])
        total += -math.log(1 / (1 + math.exp(-difference)))
        squares += float(z_u[u] @ z_u[u] + z_i[i] @ z_i[i] + z_i[j] @ z_i[j])
    count = len(batch.users)
    expected = total / count + l2 / (2 * count) * squares
    assert float(pairwise_loss(z_u, z_i, batch, l2)) == pytest.approx(expected, rel=1e-12)


def test_the_pairwise_loss_by_hand() -> None:
    triple = Batch(*(torch.tensor([index]) for index in (0, 0, 1)))
    z_u, z_i = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 3.0]])
    assert float(pairwise_loss(z_u, z_i, triple, 0.1)) == pytest.approx(
        math.log(1 + math.exp(-4)) + 0.05 * (4 + 1 + 10)
    )


def test_raising_a_positive_lowers_the_pairwise_loss_and_raising_a_negative_does_not() -> None:
    triple = Batch(*(torch.tensor([index]) for index in (0, 0, 1)))
    z_i = torch.zeros(2, 2, requires_grad=True)
    pairwise_loss(torch.tensor([[1.0, 0.0]]), z_i, triple, 0.0).backward()
    assert z_i.grad is not None and z_i.grad[0, 0] < 0 < z_i.grad[1, 0]


def test_the_pairwise_loss_stays_finite_for_scores_far_apart() -> None:
    triple = Batch(*(torch.tensor([index]) for index in (0, 0, 1)))
    z_i = torch.tensor([[-1e4], [1e4]])
    assert float(pairwise_loss(torch.ones(1, 1), z_i, triple, 0.0)) == 2e4


def both_cross_entropies(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    labels = torch.arange(len(a))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@pytest.mark.parametrize("temperature", [LEAST_TEMPERATURE, 0.5, 2.0])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_info_nce_is_the_mean_of_both_cross_entropies(rows: int, temperature: float) -> None:
    a, b = randn(rows, 4).requires_grad_(), randn(rows, 4, seed=1).requires_grad_()
    ours, theirs = info_nce(a, b, temperature), both_cross_entropies(a, b, temperature)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(3 * ours, (a, b)), torch.autograd.grad(3 * theirs, (a, b)), strict=True):
        torch.testing.assert_close(mine, other)


def test_info_nce_passes_gradcheck() -> None:
    a, b = randn(5, 3).requires_grad_(), randn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.4), (a, b))


def test_info_nce_is_symmetric_and_blind_to_lengths() -> None:
    a, b = randn(6, 3), randn(6, 3, seed=1)
    torch.testing.assert_close(info_nce(a, b, 0.3), info_nce(b, a, 0.3))
    torch.testing.assert_close(info_nce(a, b, 0.3), info_nce(7 * a, b / 9, 0.3))


def test_info_nce_is_smallest_where_pairs_agree() -> None:
    a = randn(6, 3)
    assert info_nce(a, a, 0.1) < info_nce(a, a.roll(1, dims=0), 0.1)


def test_info_nce_is_finite_at_the_least_temperature_for_opposite_rows() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = info_nce(a, -a.detach(), LEAST_TEMPERATURE)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2), rel=1e-5)
    assert a.grad is not None and a.grad.isfinite().all()


def test_info_nce_of_rows_without_content_is_finite() -> None:
    a, b = torch.zeros(3, 2, requires_grad=True), randn(3, 2, dtype=torch.float32)
    loss = info_nce(a, b, 0.5)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(3), rel=1e-6)
    assert a.grad is not None and a.grad.isfinite().all()


class Pair(PairwiseRecommender):
    """Given representations."""

    content = True

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, Settings(l2=0.2), 0)
        self.z_u, self.z_i = randn(dataset.users, 4), randn(dataset.items, 4, seed=1)

    def representations(self) -> tuple[Tensor, Tensor]:
        return self.z_u, self.z_i


def test_scores_are_inner_products_by_default(toy: Dataset) -> None:
    model = Pair(toy)
    users = torch.tensor([5, 0, 5])
    scores = model.scores(model.prepare_scores(), users)
    expected = [[float(model.z_u[u] @ model.z_i[i]) for i in range(toy.items)] for u in users]
    np.testing.assert_allclose(scores, expected)


def test_a_pairwise_recommender_trains_on_its_representations(toy: Dataset, batch: Batch) -> None:
    model = Pair(toy)
    assert torch.equal(model.loss(batch), pairwise_loss(model.z_u, model.z_i, batch, 0.2))


def test_a_content_model_needs_modalities_and_reads_those_with_features(toys: dict[str, Dataset]) -> None:
    assert Pair.unusable(toys["none"].card(), None) == "the data set has no modalities"
    assert Pair.unusable(toys["neighbours"].card(), None) is None
    assert Pair.reads(toys["neighbours"].card(), None) == ["image"]
    assert Pair.reads(toys["three"].card(), None) == ["audio", "image", "text"]


def test_other_models_run_everywhere_and_read_nothing(toys: dict[str, Dataset]) -> None:
    assert Recommender.unusable(toys["none"].card(), None) is None
    assert Recommender.reads(toys["three"].card(), None) == []


def test_a_model_without_a_loss_or_representations_says_so(toy: Dataset, batch: Batch) -> None:
    bare = Recommender(toy, None, 0)
    for call in (lambda: bare.loss(batch), bare.prepare_scores):
        with pytest.raises(NotImplementedError):
            call()
    assert bare.weights_of_interest() == {}
