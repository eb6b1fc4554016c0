"""BM3 against a dense reference written in loops, and what its equations imply."""

from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.bm3 import BM3, Settings
from tmfun.dataset import Dataset, Modality
from tmfun.recommender import Batch

USERS, ITEMS, K = 7, 9, 3
BATCH = Batch(torch.tensor([0, 3, 3, 6]), torch.tensor([1, 2, 8, 2]), torch.tensor([5, 0, 4, 7]))


def toy() -> Dataset:
    """Two modalities with features, one with neighbours only; the last user and item have no training edge."""
    draw = np.random.default_rng(0)
    train = np.argwhere(draw.random((USERS - 1, ITEMS - 1)) < 0.4)
    neighbours = np.stack([draw.permutation(ITEMS)[:K] for _ in range(ITEMS)]).astype(np.int32)
    modalities = (
        Modality("image", draw.standard_normal((ITEMS, 5)).astype(np.float32)),
        Modality("audio", draw.standard_normal((ITEMS, 4)).astype(np.float32)),
        Modality("text", None, neighbours, np.ones((ITEMS, K), np.float32)),
    )
    held_out = np.array([[0, ITEMS - 1]])
    return Dataset("toy", USERS, ITEMS, train, held_out, held_out[:0], modalities)


def model(seed: int = 1, dataset: Dataset | None = None, **settings) -> BM3:
    m = BM3(dataset or toy(), Settings(dimension=6, **settings), seed)
    with torch.no_grad():
        for bias in (m.predictor_bias, *m.bias.values()):
            bias.copy_(torch.arange(6) / 10)
    return m


def encoded(m: BM3, dataset: Dataset, layers: int) -> tuple[Tensor, Tensor]:
    """h_u and h_i, with a dense graph filled edge by edge."""
    adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    of_user, of_item = dataset.degrees()
    for u, i in dataset.train.tolist():
        adjacency[u, USERS + i] = adjacency[USERS + i, u] = 1 / sqrt(of_user[u] * of_item[i])
    now = torch.cat([m.user_embedding, m.item_embedding])
    found = [now]
    for _ in range(layers):
        now = adjacency @ now
        found.append(now)
    g = sum(found) / (layers + 1)
    return g[:USERS], g[USERS:] + m.item_embedding


def reference_loss(m: BM3, dataset: Dataset, settings: Settings) -> Tensor:
    """Pair by pair, with targets that carry no gradient and no dropout."""

    def predict(h: Tensor) -> Tensor:
        return m.predictor.T @ h + m.predictor_bias

    def distance(a: Tensor, b: Tensor) -> Tensor:
        target = b.detach()
        return 1 - (a @ target) / (a.norm() * target.norm())

    h_u, h_i = encoded(m, dataset, settings.layers)
    total = torch.zeros(())
    for u, i in zip(BATCH.users.tolist(), BATCH.positives.tolist(), strict=True):
        total = total + distance(predict(h_u[u]), h_i[i]) + distance(predict(h_i[i]), h_u[u])
        for modality in dataset.modalities[:2]:
            h = m.projection[modality.name].T @ m.features[modality.name][i] + m.bias[modality.name]
            aligned = distance(predict(h), h_i[i]) + distance(predict(h), h)
            total = total + settings.alignment_weight * aligned
        total = total + settings.l2 / 2 * (h_u[u] @ h_u[u] + h_i[i] @ h_i[i])
    return total / len(BATCH.users)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_loss_and_its_gradient_equal_the_reference(layers):
    dataset = toy()
    m = model(dataset=dataset, dropout=0.0, layers=layers, alignment_weight=0.7, l2=0.2)
    parameters = list(m.parameters())
    expected = reference_loss(m, dataset, m.settings)
    actual = m.loss(BATCH)
    assert actual.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = (torch.autograd.grad(loss, parameters) for loss in (actual, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_representations_equal_the_reference_and_follow_from_the_parameters_alone():
    dataset = toy()
    m = model().eval()
    restored = model(seed=5).eval()
    restored.load_state_dict(m.state_dict())
    for actual, again, h in zip(m.representations(), restored.representations(), encoded(m, dataset, 1), strict=True):
        torch.testing.assert_close(actual, h @ m.predictor + m.predictor_bias, atol=1e-5, rtol=1e-5)
        assert torch.equal(actual, again)


def test_negatives_play_no_part():
    other = Batch(BATCH.users, BATCH.positives, BATCH.negatives.flip(0))
    assert torch.equal(model().loss(BATCH), model().loss(other))


def test_without_alignment_content_plays_no_part():
    changed = toy()
    changed.modalities[0].features[:] = 1.0
    same = [model(dataset=data, alignment_weight=0.0).loss(BATCH) for data in (toy(), changed)]
    assert torch.equal(*same)


def test_features_are_trained_unless_told_otherwise_and_never_those_of_the_data_set():
    dataset = toy()
    for trained in (True, False):
        m = model(dataset=dataset, train_features=trained)
        optimiser = torch.optim.Adam(m.parameters())
        m.loss(BATCH).backward()
        optimiser.step()
        assert torch.equal(m.features["image"], torch.from_numpy(toy().modalities[0].features)) is not trained
        np.testing.assert_array_equal(dataset.modalities[0].features, toy().modalities[0].features)


def test_dropout_is_drawn_in_training_only_from_its_own_stream():
    one, two = model(), model(layers=2)
    assert torch.equal(one.noise.get_state(), two.noise.get_state())
    first, second = one.loss(BATCH), one.loss(BATCH)
    assert not torch.equal(first, second)
    assert torch.equal(model().loss(BATCH), first)
    state = one.eval().noise.get_state()
    assert torch.equal(one.loss(BATCH), one.loss(BATCH))
    assert torch.equal(one.noise.get_state(), state)
    assert one.loss(BATCH).item() == pytest.approx(model(dropout=0.0).loss(BATCH).item())


def test_targets_lose_the_stated_share_and_carry_no_gradient():
    h = torch.ones(500, 6, requires_grad=True)
    target = model(dropout=0.3)._target(h)
    assert not target.requires_grad
    assert set(target.unique().tolist()) == {0.0, 1.0}
    assert target.mean().item() == pytest.approx(0.7, abs=0.03)


def test_what_it_needs_and_reads():
    assert BM3.unusable(toy().card(), Settings()) is None
    assert BM3.reads(toy().card(), Settings()) == ["image", "audio"]
    for modalities in ((), (toy().modality("text"),)):
        assert BM3.unusable(toy().with_modalities(*modalities).card(), Settings()) == "the data set has no features"
