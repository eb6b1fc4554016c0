from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from baselines.content_knn import ContentKNN, Settings
from tmfun import metrics
from tmfun.checks import signal
from tmfun.checks.edges import Edges, knn_edges
from tmfun.checks.signal import CoInteraction, content_only, judge, measure
from tmfun.dataset import Dataset, Modality
from tmfun.graphs import modality_neighbours
from tmfun.ranking import Ranking


def likeness(dataset: Dataset) -> NDArray:
    """c by its definition."""
    fans: list[set[int]] = [set() for _ in range(dataset.items)]
    for user, item in dataset.train.tolist():
        fans[item].add(user)
    c = np.zeros((dataset.items, dataset.items))
    for i, mine in enumerate(fans):
        for j, others in enumerate(fans):
            if i != j and mine and others:
                c[i, j] = len(mine & others) / np.sqrt(len(mine) * len(others))
    return c


def all_pairs(items: int) -> Edges:
    i, j = np.nonzero(~np.eye(items, dtype=bool))
    return Edges(items, i, j, np.arange(0))


@pytest.mark.parametrize("size", [1, 5, 20])
def test_likeness_in_use_and_its_expectation_are_as_defined(
    size: int, toy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "STRATUM", size)
    use, edges, c = CoInteraction(toy), all_pairs(toy.items), likeness(toy)
    np.testing.assert_allclose(use.like(edges), c[edges.i, edges.j], atol=1e-12)
    assert use.chance == pytest.approx((c > 0).sum() / (30 * 29))
    degrees = toy.degrees()[1]
    counts = np.bincount(use.stratum)
    assert counts.min() >= min(size, 30) and len(counts) == 30 // size
    for stratum in range(len(counts) - 1):
        assert degrees[use.stratum == stratum].max() <= degrees[use.stratum == stratum + 1].min()
    for i, j, expected in zip(edges.i, edges.j, use.expected(edges), strict=True):
        same = (use.stratum[edges.i] == use.stratum[i]) & (use.stratum[edges.j] == use.stratum[j])
        assert expected == pytest.approx(c[edges.i[same], edges.j[same]].mean())
    assert use.excess(edges).mean() == pytest.approx(0, abs=1e-12)


def test_permutations_stay_within_strata_and_center_the_statistic_on_zero(shop: Any) -> None:
    dataset = shop.generated()
    use, edges = CoInteraction(dataset), knn_edges(dataset.modality("image"))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        to = use.permutation(rng)
        assert np.array_equal(np.sort(to), np.arange(400)) and (use.stratum[to] == use.stratum).all()
        found.append(use.excess(edges.renamed(to)).mean())
    error = use.null(edges)
    assert abs(np.mean(found)) < 4 * error / 20
    assert error == pytest.approx(np.std(found), rel=0.25)


def test_without_signal_z_is_a_standard_normal_number(shop: Any) -> None:
    """Random content on 30 generated sets, and none of it is called a signal."""
    z = []
    for seed in range(30):
        dataset = shop.generated(users=200, items=150, clusters=20, modalities="image", signal=0, seed=seed)
        use, edges = CoInteraction(dataset), knn_edges(dataset.modality("image"))
        z.append(measure(use, edges, use.null(edges)).z)
    assert abs(np.mean(z)) < 0.6 and 0.65 < np.std(z) < 1.4 and max(z) < signal.BEYOND_CHANCE


def test_popularity_that_shows_in_content_is_no_signal(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items whose content says only how popular they are have popular neighbours, but no more than that."""
    base = shop.generated(popularity=1.5, signal=0)
    degrees = base.degrees()[1].astype(np.float32)
    rng = np.random.default_rng(1)
    angle = np.argsort(np.argsort(degrees + 0.5 * rng.random(400))) / 400 * np.pi / 2
    features = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    edges = knn_edges(Modality("popularity", features))

    def z() -> float:
        use = CoInteraction(base)
        return measure(use, edges, use.null(edges)).z

    assert abs(z()) < signal.BEYOND_CHANCE
    monkeypatch.setattr(signal, "STRATUM", 400)
    assert z() > signal.BEYOND_CHANCE, "without strata it would be called one"


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_on_planted_signal(seed: int, shop: Any) -> None:
    for changes, word, level, of_files in (
        ({}, "carries signal", "ok", "ok"),
        ({"reliability": 0.25, "reliability_spread": 0, "within": 0.5}, "weak signal", "note", "note"),
        ({"signal": 0}, "no signal beyond chance", "note", "warning"),
    ):
        dataset = shop.generated(seed=seed, modalities="image", **changes)
        use, edges = CoInteraction(dataset), knn_edges(dataset.modality("image"))
        found = measure(use, edges, use.null(edges))
        for synthetic, wanted in ((True, level), (False, of_files)):
            finding = judge("", "signal", found, synthetic)
            assert (finding.numbers["word"], finding.level) == (word, wanted)


def test_the_lift_is_the_share_of_co_liked_neighbours_over_that_of_all_pairs(toy: Dataset) -> None:
    edges, c = knn_edges(toy.modality("image")), likeness(toy)
    shared = (c[edges.i, edges.j] > 0).mean()
    found = measure(CoInteraction(toy), edges, 1.0)
    assert found.shared == pytest.approx(shared)
    assert found.lift == pytest.approx(shared / ((c > 0).sum() / (30 * 29)))


def test_the_longest_histories_are_left_out_where_there_is_too_much_to_count(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shop.generated()
    users = dataset.degrees()[0]
    monkeypatch.setattr(signal, "CELLS", int((np.sort(users)[:-10] ** 2).sum()) - 1)
    use = CoInteraction(dataset)
    kept = users[dataset.train[:, 0]] <= np.sort(users[users <= np.sort(users)[-12]])[-1]
    assert 11 <= use.left_out == (users > users[np.unique(dataset.train[kept, 0])].max()).sum()
    history = sp.csr_array((np.ones(kept.sum()), dataset.train[kept].T), shape=(500, 400)).toarray()
    assert (use.c.toarray() > 0).sum() == ((history.T @ history) * (1 - np.eye(400)) > 0).sum()


def test_content_alone_ranks_as_the_recommender_of_that_name(shop: Any) -> None:
    dataset = shop.generated()
    image = dataset.modality("image")
    model = ContentKNN(dataset.with_modalities(image), Settings(), 0)
    expected = metrics.mean("recall@20", Ranking(dataset, "test").ranks(model), dataset.test[:, 0])
    found = content_only("", dataset, *modality_neighbours(image, 10))
    assert found.numbers["recall@20"] == expected and found.level == "ok"
    assert found.numbers["shuffled"] < expected / 3 and found.numbers["shuffled_users"] == 500


def test_the_shuffled_control_is_measured_on_as_many_users_as_are_said(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "SHUFFLED_USERS", 60)
    dataset = shop.generated(signal=0)
    found = content_only("", dataset, *modality_neighbours(dataset.modality("image"), 10))
    assert found.numbers["shuffled_users"] == 60 and found.level == "note"
