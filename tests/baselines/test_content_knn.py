"""Content kNN against a dense loop, and what it says it reads."""

import numpy as np
import pytest
import torch

from baselines.content_knn import ContentKNN, Settings
from tmfun.dataset import Dataset, Modality

USERS, ITEMS, K = 6, 9, 3


def toy(*modalities: Modality) -> Dataset:
    train = np.argwhere(np.random.default_rng(0).random((USERS - 1, ITEMS)) < 0.4)  # the last user has no interaction
    held_out = np.array([[0, ITEMS - 1]])
    return Dataset("toy", USERS, ITEMS, train, held_out, held_out, modalities)


def featured() -> Modality:
    return Modality("image", np.random.default_rng(1).standard_normal((ITEMS, 5)).astype(np.float32))


def supplied(features: bool) -> Modality:
    """Neighbours from a file, negative cosines among them; features, where there are any, say something else."""
    draw = np.random.default_rng(2)
    neighbours = np.stack([draw.permutation(ITEMS)[: K + 1] for _ in range(ITEMS)]).astype(np.int32)
    cosine = draw.uniform(-0.5, 1, (ITEMS, K + 1)).astype(np.float32)
    x = draw.standard_normal((ITEMS, 4)).astype(np.float32) if features else None
    return Modality("text", x, neighbours, cosine)


def similarity(modality: Modality, i: int, j: int) -> float:
    """sim_m(i, j)."""
    if modality.neighbours is not None:
        found = dict(zip(modality.neighbours[i, :K].tolist(), modality.cosine[i, :K].tolist(), strict=True))
    else:
        x = modality.features.astype(float)
        cosines = [x[i] @ x[other] / np.linalg.norm(x[i]) / np.linalg.norm(x[other]) for other in range(ITEMS)]
        found = dict(sorted(enumerate(cosines), key=lambda pair: -pair[1])[:K])
    return max(found.get(j, 0.0), 0.0)


def scores(dataset: Dataset, **settings) -> np.ndarray:
    model = ContentKNN(dataset, Settings(neighbours=K, **settings), 0)
    found = model.scores(model.prepare_scores(), torch.arange(USERS))
    assert found.dtype == torch.float32
    return found.numpy()


@pytest.mark.parametrize("chosen", ["all", ("image",), ("text",)])
def test_scores_are_the_loop(chosen):
    dataset = toy(featured(), supplied(features=False))
    names = ("image", "text") if chosen == "all" else chosen
    expected = np.zeros((USERS, ITEMS))
    for u, j in dataset.train.tolist():
        for i in range(ITEMS):
            expected[u, i] += sum(similarity(dataset.modality(name), i, j) for name in names)
    np.testing.assert_allclose(scores(dataset, modalities=chosen), expected, atol=1e-5)


def test_neighbours_stand_in_for_features():
    with_features, without = toy(featured(), supplied(features=True)), toy(featured(), supplied(features=False))
    np.testing.assert_array_equal(scores(with_features), scores(without))
    assert ContentKNN.reads(with_features.card(), Settings()) == ["image"]
    assert ContentKNN.reads(with_features.card(), Settings(modalities=("text",))) == []


def test_unusable():
    card = toy(featured()).card()
    assert ContentKNN.unusable(card, Settings()) is None
    assert ContentKNN.unusable(card, Settings(modalities=("image",))) is None
    narrow = toy(supplied(features=False)).card()
    held = narrow.modalities[0].neighbours
    assert ContentKNN.unusable(narrow, Settings(neighbours=held)) is None
    assert f"holds {held} per item, not 10" in ContentKNN.unusable(narrow, Settings())
    assert ContentKNN.unusable(card, Settings(modalities=("audio",))) == "the data set has no modality 'audio'"
    assert ContentKNN.unusable(card, Settings(modalities=())) == "no modality is chosen"
    assert ContentKNN.unusable(toy().card(), Settings()) == "the data set has no modalities"
