"""SimGCL against a reference written in loops, and what its equations imply."""

from math import log1p, sqrt

import numpy as np
import pytest
import torch

from baselines.simgcl import Settings, SimGCL
from tmfun.dataset import Dataset
from tmfun.recommender import Batch, pairwise_loss
from tmfun.streams import key

USERS, ITEMS, D = 7, 6, 5
BATCH = Batch(torch.tensor([0, 3, 3, 5]), torch.tensor([1, 2, 4, 2]), torch.tensor([5, 0, 4, 3]))


def toy() -> Dataset:
    """The last user and the last item have no training edge."""
    train = np.argwhere(np.random.default_rng(0).random((USERS - 1, ITEMS - 1)) < 0.5)
    held_out = np.array([[0, ITEMS - 1]])
    return Dataset("toy", USERS, ITEMS, train, held_out, held_out)


def model(**settings) -> SimGCL:
    return SimGCL(toy(), Settings(**{"dimension": D, **settings}), 1)


def encoded(net: SimGCL, noise: list) -> np.ndarray:
    """z with eps * sign * direction of `noise`, one (users + items, d) array per layer, added: node by node."""
    edges = toy().train.tolist()
    of_user = [sum(u == user for u, _ in edges) for user in range(USERS)]
    of_item = [sum(i == item for _, i in edges) for item in range(ITEMS)]
    e = torch.cat([net.user_embedding, net.item_embedding]).detach().double().numpy()
    total = np.zeros_like(e)
    for drawn in noise:
        now = np.zeros_like(e)
        for u, i in edges:
            weight = 1 / sqrt(of_user[u] * of_item[i])
            now[u] += weight * e[USERS + i]
            now[USERS + i] += weight * e[u]
        for node in range(len(e)):
            now[node] += net.settings.noise * np.sign(now[node]) * drawn[node] / np.linalg.norm(drawn[node])
        total += now / len(noise)
        e = now
    return total


def contrast(one: np.ndarray, two: np.ndarray, nodes: set, temperature: float) -> float:
    def similar(a: int, b: int) -> float:
        return np.exp(one[a] @ two[b] / np.linalg.norm(one[a]) / np.linalg.norm(two[b]) / temperature)

    return -sum(np.log(similar(a, a) / sum(similar(a, b) for b in nodes)) for a in nodes) / len(nodes)


@pytest.mark.parametrize("layers", [1, 3])
def test_forward_and_loss_are_the_loop(layers):
    net = model(layers=layers, noise=0.4, temperature=0.3, contrast_weight=0.7, l2=0.2)
    still = [np.ones((USERS + ITEMS, D))] * layers
    calm = model(layers=layers, noise=0.0)
    z = encoded(calm, still)
    np.testing.assert_allclose(torch.cat(net.representations()).detach().numpy(), z, atol=1e-5)

    stream = torch.Generator().manual_seed(key(1, "noise"))
    drawn = [torch.rand(USERS + ITEMS, D, generator=stream).double().numpy() for _ in range(2 * layers)]
    one, two = encoded(net, drawn[:layers]), encoded(net, drawn[layers:])
    expected = 0.7 * contrast(one, two, {0, 3, 5}, 0.3)
    expected += 0.7 * contrast(one, two, {USERS + i for i in (1, 2, 4)}, 0.3)
    z_u, z_i = z[:USERS], z[USERS:]
    for u, i, j in zip(BATCH.users, BATCH.positives, BATCH.negatives, strict=True):
        expected += log1p(np.exp(z_u[u] @ z_i[j] - z_u[u] @ z_i[i])) / 4
        expected += 0.2 / 8 * (z_u[u] @ z_u[u] + z_i[i] @ z_i[i] + z_i[j] @ z_i[j])
    assert net.loss(BATCH).item() == pytest.approx(expected, abs=1e-5)


def test_without_contrast_it_is_lightgcn_without_its_first_layer():
    net = model(layers=3, noise=0.0, contrast_weight=0.0)
    e = torch.cat([net.user_embedding, net.item_embedding])
    layers = []
    for _ in range(3):
        e = net.interactions @ e
        layers.append(e)
    z_u, z_i = torch.stack(layers).mean(dim=0).split([USERS, ITEMS])
    for found, expected in zip(net.representations(), (z_u, z_i), strict=True):
        assert (found - expected).abs().max() < 1e-6
    assert (net.loss(BATCH) - pairwise_loss(z_u, z_i, BATCH, net.settings.l2)).abs() < 1e-6


def test_noise_keeps_the_orthant_and_has_length_eps():
    net = model(noise=0.1)
    e = torch.cat([net.user_embedding, net.item_embedding]).detach()
    moved = net._perturbed(e)
    assert ((moved - e).norm(dim=1) - 0.1).abs().max() < 1e-6
    assert torch.equal(moved.sign(), e.sign())
    assert not net._perturbed(torch.zeros_like(e)).any()


def test_noise_draws_from_its_own_stream():
    one, two = model(), model()
    torch.manual_seed(5)
    first = one.loss(BATCH)
    torch.manual_seed(6)
    assert torch.equal(first, two.loss(BATCH))
    assert not torch.equal(first, one.loss(BATCH))  # drawn anew
    for own, other in zip(one.eval().representations(), model(noise=0.9).eval().representations(), strict=True):
        assert torch.equal(own, other)


def test_every_parameter_learns():
    net = model()
    net.loss(BATCH).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
