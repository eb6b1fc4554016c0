"""MGCN against a dense reference written in loops, and what its equations imply."""

from math import exp, log, log1p, sqrt

import numpy as np
import pytest
import torch

from baselines.lightgcn import LightGCN
from baselines.lightgcn import Settings as LightGCNSettings
from baselines.mgcn import MGCN, Settings
from tmfun.dataset import Dataset, Modality
from tmfun.recommender import Batch

USERS, ITEMS, K, D = 7, 9, 3, 6
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


def model(dataset: Dataset | None = None, seed: int = 1, **settings) -> MGCN:
    """With biases that are not 0, so that they count."""
    m = MGCN(dataset or toy(), Settings(dimension=D, neighbours=K, **settings), seed)
    with torch.no_grad():
        for name, parameter in m.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.arange(D) / 10 - len(name) / 50)
    return m


def knn_graph(modality: Modality) -> np.ndarray:
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
            adjacency[i, j] = max(cosine, 0)
    degree = adjacency.sum(axis=1)
    for i, j in np.argwhere(adjacency):
        adjacency[i, j] *= 1 / sqrt(degree[i] * degree[j]) if degree[j] else 0
    return adjacency


def reference(m: MGCN, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """g and f of all users and items, node by node."""
    values = {name: parameter.detach().double().numpy() for name, parameter in m.named_parameters()}

    def affine(name: str, x: np.ndarray) -> np.ndarray:
        return x @ values[f"{name}.weight"] + values[f"{name}.bias"]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    of_user, of_item = dataset.degrees()
    block = np.zeros((USERS, ITEMS))  # R
    for u, i in dataset.train.tolist():
        block[u, i] = 1 / sqrt(of_user[u] * of_item[i])
    adjacency = np.zeros((USERS + ITEMS, USERS + ITEMS))
    adjacency[:USERS, USERS:], adjacency[USERS:, :USERS] = block, block.T
    e = np.concatenate([values["user_embedding"], values["item_embedding"]])
    g = (e + adjacency @ e + adjacency @ adjacency @ e) / 3

    views = []
    for modality in dataset.modalities:
        purified = values["item_embedding"].copy()
        if modality.features is not None:
            for i in range(ITEMS):
                content = affine(f"projection.{modality.name}", modality.features[i])
                purified[i] *= sigmoid(affine(f"gate.{modality.name}", content))
        of_items = knn_graph(modality) @ purified
        views.append(np.concatenate([block @ of_items, of_items]))

    f = np.zeros_like(g)
    for node in range(USERS + ITEMS):
        scores = [float(np.tanh(affine("attention", view[node])) @ values["query"][:, 0]) for view in views]
        shares = [exp(score) / sum(map(exp, scores)) for score in scores]
        shared = sum(share * view[node] for share, view in zip(shares, views, strict=True))
        f[node] = shared
        for modality, view in zip(dataset.modalities, views, strict=True):
            f[node] += (view[node] - shared) * sigmoid(affine(f"preference.{modality.name}", g[node]))
    return g, f / (len(views) + 1)


def reference_contrast(f: np.ndarray, g: np.ndarray, nodes: list[int], temperature: float) -> float:
    def similar(a: int, b: int) -> float:
        return exp(f[a] @ g[b] / np.linalg.norm(f[a]) / np.linalg.norm(g[b]) / temperature)

    return sum(-log(similar(a, a) / sum(similar(a, b) for b in nodes)) for a in nodes) / len(nodes)


def test_representations_equal_the_reference_and_follow_from_the_parameters_alone():
    dataset = toy()
    m = model(dataset).eval()
    restored = model(dataset, seed=5).eval()
    restored.load_state_dict(m.state_dict())
    z = sum(reference(m, dataset))
    for actual, again, expected in zip(
        m.representations(), restored.representations(), (z[:USERS], z[USERS:]), strict=True
    ):
        np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-5)
        assert torch.equal(actual, again)


def test_the_loss_equals_the_reference():
    dataset = toy().with_modalities(*toy().modalities[:2])  # f of the last user is 0 where it has no edges
    batch = Batch(torch.tensor([0, 3, 3, 5]), torch.tensor([1, 2, 7, 2]), BATCH.negatives)
    m = model(dataset, contrast_weight=0.4, temperature=0.3, l2=0.2)
    g, f = reference(m, dataset)
    z_u, z_i = (g + f)[:USERS], (g + f)[USERS:]
    loss = 0.0
    for u, i, j in zip(*(part.tolist() for part in (batch.users, batch.positives, batch.negatives)), strict=True):
        loss += log1p(np.exp(z_u[u] @ z_i[j] - z_u[u] @ z_i[i])) / 4
        loss += 0.2 / 8 * (z_u[u] @ z_u[u] + z_i[i] @ z_i[i] + z_i[j] @ z_i[j])
    loss += 0.4 * reference_contrast(f, g, [0, 3, 5], 0.3)
    loss += 0.4 * reference_contrast(f, g, [USERS + 1, USERS + 2, USERS + 7], 0.3)
    assert m.loss(batch).item() == pytest.approx(loss, abs=1e-5)


def test_one_modality_is_half_its_view():
    dataset = toy().with_modalities(toy().modality("audio"))
    m = model(dataset)
    _, f = m._behaviour_and_fused()
    torch.testing.assert_close(f, m._view("audio") / 2)


def test_without_edges_in_the_item_graphs_it_is_lightgcn():
    nothing = Modality("text", None, np.zeros((ITEMS, K), np.int32), np.zeros((ITEMS, K), np.float32))
    dataset = toy().with_modalities(nothing)
    m = model(dataset, contrast_weight=0.0, l2=0.01)
    plain = LightGCN(dataset, LightGCNSettings(dimension=D, l2=0.01), 1)
    for actual, expected in zip(m.representations(), plain.representations(), strict=True):
        assert torch.equal(actual, expected)
    torch.testing.assert_close(m.loss(BATCH), plain.loss(BATCH))


def test_gradients_stay_finite_where_a_user_has_no_edges():
    m = model()
    m.loss(BATCH).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.parameters())


def test_what_it_needs_and_reads():
    assert MGCN.unusable(toy().card(), Settings(neighbours=2)) is None
    assert "per item, not 10" in MGCN.unusable(toy().card(), Settings())
    assert MGCN.unusable(toy().with_modalities().card(), Settings()) == "the data set has no modalities"
    assert MGCN.reads(toy().card(), Settings()) == ["image", "audio"]
