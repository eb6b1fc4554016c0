"""FREEDOM against a dense reference written in loops, and what its equations imply."""

from math import log1p, sqrt

import numpy as np
import pytest
import torch

from baselines.freedom import FREEDOM, Settings, kept_edges, modality_shares
from baselines.lightgcn import LightGCN
from baselines.lightgcn import Settings as LightGCNSettings
from tmfun.dataset import Dataset, Modality
from tmfun.recommender import Batch

USERS, ITEMS, K = 7, 9, 3
BATCH = Batch(torch.tensor([0, 3, 3, 6]), torch.tensor([1, 2, 8, 2]), torch.tensor([5, 0, 4, 7]))


def toy() -> Dataset:
    """Two modalities with features, one with neighbours only; the last user and item have no training edge."""
    draw = np.random.default_rng(0)
    train = np.argwhere(draw.random((USERS - 1, ITEMS - 1)) < 0.4)
    neighbours = np.stack([draw.permutation(ITEMS)[:K] for _ in range(ITEMS)]).astype(np.int32)
    cosine = draw.uniform(-0.3, 1, (ITEMS, K)).astype(np.float32)
    modalities = (
        Modality("image", draw.standard_normal((ITEMS, 5)).astype(np.float32)),
        Modality("audio", draw.standard_normal((ITEMS, 4)).astype(np.float32)),
        Modality("text", None, neighbours, cosine),
    )
    held_out = np.array([[0, ITEMS - 1]])
    return Dataset("toy", USERS, ITEMS, train, held_out, held_out[:0], modalities)


def model(dataset: Dataset | None = None, seed: int = 1, **settings) -> FREEDOM:
    return FREEDOM(dataset or toy(), Settings(dimension=6, neighbours=K, **settings), seed)


def lightgcn(edges: list, e_u: np.ndarray, e_i: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the layers, edge by edge."""
    of_user = [sum(u == user for u, _ in edges) for user in range(len(e_u))]
    of_item = [sum(i == item for _, i in edges) for item in range(len(e_i))]
    total_u, total_i, u_now, i_now = e_u.copy(), e_i.copy(), e_u, e_i
    for _ in range(layers):
        u_next, i_next = np.zeros_like(u_now), np.zeros_like(i_now)
        for u, i in edges:
            weight = 1 / sqrt(of_user[u] * of_item[i])
            u_next[u] += weight * i_now[i]
            i_next[i] += weight * u_now[u]
        u_now, i_now = u_next, i_next
        total_u, total_i = total_u + u_now, total_i + i_now
    return total_u / (layers + 1), total_i / (layers + 1)


def binary_graph(modality: Modality) -> np.ndarray:
    """A^m, dense."""
    adjacency = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        if modality.features is None:
            found = zip(modality.neighbours[i], modality.cosine[i], strict=True)
        else:
            x = modality.features
            cosines = [float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])) for j in range(ITEMS)]
            found = sorted(enumerate(cosines), key=lambda pair: -pair[1])[:K]
        for j, cosine in found:
            adjacency[i, j] = cosine > 0
    degree = adjacency.sum(axis=1)
    for i, j in np.argwhere(adjacency):
        adjacency[i, j] = 1 / sqrt(degree[i] * degree[j]) if degree[j] else 0
    return adjacency


def reference(m: FREEDOM, edges: list, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    e_u, e_i = m.user_embedding.detach().double().numpy(), m.item_embedding.detach().double().numpy()
    z_u, g_i = lightgcn(edges, e_u, e_i, 2)
    shares = {"image": 0.1, "audio": 0.45, "text": 0.45}
    graph = sum(shares[modality.name] * binary_graph(modality) for modality in dataset.modalities)
    return z_u, g_i + graph @ e_i


def same(actual: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-5)


def epoch_edges(m: FREEDOM) -> list:
    rows, columns = m.epoch_interactions.matrix()[:USERS, USERS:].nonzero()
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_ranking_uses_all_edges_and_equals_the_reference():
    dataset = toy()
    m = model(dataset).eval()
    m.begin_epoch()
    for actual, expected in zip(m.representations(), reference(m, dataset.train.tolist(), dataset), strict=True):
        same(actual, expected)


def test_training_uses_the_epoch_s_edges_and_the_loss_equals_the_reference():
    dataset = toy()
    m = model(dataset, modality_weight=0.3, l2=0.2)
    m.begin_epoch()
    edges = epoch_edges(m)
    assert len(edges) == len(dataset.train) - int(0.8 * len(dataset.train))
    assert set(edges) < set(map(tuple, dataset.train.tolist()))
    z_u, z_i = reference(m, edges, dataset)
    for actual, expected in zip(m.representations(), (z_u, z_i), strict=True):
        same(actual, expected)
    loss = 0.0
    for u, i, j in zip(*(part.tolist() for part in (BATCH.users, BATCH.positives, BATCH.negatives)), strict=True):
        loss += log1p(np.exp(z_u[u] @ z_i[j] - z_u[u] @ z_i[i])) / 4
        loss += 0.2 / 8 * (z_u[u] @ z_u[u] + z_i[i] @ z_i[i] + z_i[j] @ z_i[j])
        for modality in dataset.modalities[:2]:
            p = modality.features @ m.projection[modality.name].detach().numpy() + 7  # a bias changes nothing
            loss += 0.3 * log1p(np.exp(z_u[u] @ p[j] - z_u[u] @ p[i])) / 4
    assert m.loss(BATCH).item() == pytest.approx(loss, abs=1e-5)


def test_without_edges_in_the_item_graph_it_is_lightgcn():
    nothing = Modality("text", None, np.zeros((ITEMS, K), np.int32), np.zeros((ITEMS, K), np.float32))
    dataset = toy().with_modalities(nothing)
    m = model(dataset, pruned=0.0, l2=0.01)
    m.begin_epoch()
    plain = LightGCN(dataset, LightGCNSettings(dimension=6, l2=0.01), 1)
    for actual, expected in zip(m.representations(), plain.representations(), strict=True):
        assert torch.equal(actual, expected)
    assert torch.equal(m.loss(BATCH), plain.loss(BATCH))


def test_all_edges_may_be_pruned():
    m = model(pruned=1.0)
    m.begin_epoch()
    same(m.representations()[0], m.user_embedding.detach().numpy() / 3)
    m.loss(BATCH).backward()


def test_edges_stay_with_probability_inverse_to_the_root_of_their_degrees():
    train = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [3, 3]])
    dataset = Dataset("star", 4, 4, train, train[:0], train[:0])
    stream = np.random.default_rng(0)
    draws = 4000
    kept = np.concatenate([kept_edges(dataset, 0.9, stream) for _ in range(draws)])
    assert len(kept) == draws  # one of six edges
    rates = np.array([1 / 3, 1 / sqrt(3), 1 / sqrt(3), 1 / sqrt(3), 1 / sqrt(3), 1])
    np.testing.assert_allclose(np.bincount(kept) / draws, rates / rates.sum(), atol=0.03)


def test_pruning_has_its_own_stream_and_differs_between_epochs():
    one, two, other = model(), model(modality_weight=0.0, layers=1), model(seed=2)
    drawn = []
    for _ in range(2):
        for m in (one, two, other):
            m.begin_epoch()
        assert epoch_edges(one) == epoch_edges(two)
        drawn += [epoch_edges(one), epoch_edges(other)]
    assert len({tuple(edges) for edges in drawn}) == 4


def test_representations_follow_from_the_parameters_alone():
    trained, restored = model().eval(), model(seed=5).eval()
    trained.begin_epoch()
    restored.load_state_dict(trained.state_dict())
    for actual, expected in zip(restored.representations(), trained.representations(), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize(
    ("names", "shares"),
    [
        (["image", "text"], [0.1, 0.9]),
        (["audio", "image", "text"], [0.45, 0.1, 0.45]),
        (["audio", "text"], [0.5, 0.5]),
        (["image"], [1.0]),
        (["text"], [1.0]),
    ],
)
def test_shares_of_any_modalities(names, shares):
    assert modality_shares(names, 0.1) == pytest.approx(shares)


def test_what_it_needs_and_reads():
    card = toy().card()
    assert FREEDOM.unusable(card, Settings(neighbours=2)) is None
    assert "per item, not 10" in FREEDOM.unusable(card, Settings())
    assert FREEDOM.unusable(toy().with_modalities().card(), Settings()) == "the data set has no modalities"
    assert FREEDOM.reads(card, Settings()) == ["image", "audio"]
    both = toy().modality("text")
    both = Modality("text", np.eye(ITEMS, dtype=np.float32), both.neighbours, both.cosine)
    card = toy().with_modalities(toy().modality("image"), both).card()
    assert FREEDOM.reads(card, Settings(modality_weight=0.0)) == ["image"]
    assert FREEDOM.reads(card, Settings()) == ["image", "text"]


def test_neighbours_are_enough():
    m = model(toy().with_modalities(toy().modality("text")))
    m.begin_epoch()
    m.loss(BATCH).backward()
    assert m.item_embedding.grad is not None
