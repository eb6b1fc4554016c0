"""Controls: what each destroys, what each keeps, and that the run's seed decides the draw."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tmfun import controls
from tmfun.controls import CONTROLS
from tmfun.dataset import SPLITS, Card, Dataset, Modality
from tmfun.errors import InputError
from tmfun.graphs import knn_matrix, modality_neighbours, nearest

NAMES = sorted(CONTROLS)
K = 5


def dense(modality: Modality, k: int = K) -> NDArray[np.float64]:
    return knn_matrix(*modality_neighbours(modality, k)).toarray()


def edges(modality: Modality, k: int) -> NDArray[np.int64]:
    """The 0/1 matrix of the k nearest neighbours."""
    ids, _ = modality_neighbours(modality, k)
    matrix = np.zeros((len(ids), len(ids)), dtype=np.int64)
    np.add.at(matrix, (np.repeat(np.arange(len(ids)), ids.shape[1]), ids.ravel()), 1)
    return matrix


def same(one: Modality, two: Modality) -> bool:
    return all(
        np.array_equal(getattr(one, part), getattr(two, part))
        if getattr(one, part) is not None
        else getattr(two, part) is None
        for part in ("features", "neighbours", "cosine")
    )


@pytest.mark.parametrize("toy_name", ["none", "one", "two", "three", "neighbours", "neighbours-only", "both"])
@pytest.mark.parametrize("name", [*NAMES, "same-modality:text"])
def test_a_control_changes_the_modalities_alone_or_is_said_not_to_apply(
    name: str, toy_name: str, toys: dict[str, Dataset]
) -> None:
    dataset = toys[toy_name]
    before = dataclasses.replace(dataset).content_hash
    reason = controls.unusable(name, dataset.card())
    if reason:
        assert reason[0].islower() and not reason.endswith(".")
        assert toy_name == "none" or (name.startswith("same-modality") and (toy_name != "three" and toy_name != "two"))
        return
    seen = controls.apply(name, dataset, seed=3)
    assert [m.name for m in seen.modalities] == [m.name for m in dataset.modalities]
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(seen, split), getattr(dataset, split))
    for m in seen.modalities:
        assert m.features is None or (m.features.dtype == np.float32 and np.isfinite(m.features).all())
        assert m.neighbours is None or (m.neighbours.dtype == np.int32 and m.cosine is not None)
        assert m.cosine is None or m.cosine.dtype == np.float32
    card, wanted = seen.card(), controls.controlled_card(name, dataset.card())
    assert [(m.name, m.width, m.neighbours) for m in card.modalities] == [
        (m.name, m.width, m.neighbours) for m in wanted.modalities
    ], "the card without the arrays says what models will see"
    assert dataclasses.replace(dataset).content_hash == before, "the data set itself is left alone"
    if name != "same-modality" or toy_name == "three":
        assert seen.content_hash != before


@pytest.mark.parametrize("name", NAMES)
def test_the_draw_follows_the_seed_and_nothing_else(name: str, toy: Dataset) -> None:
    torch.manual_seed(1)
    first = controls.apply(name, toy, seed=0)
    torch.manual_seed(2)
    again, other = controls.apply(name, toy, seed=0), controls.apply(name, toy, seed=1)
    assert first.content_hash == again.content_hash
    assert (first.content_hash != other.content_hash) == CONTROLS[name].drawn


def test_no_control_is_the_data_set_itself(toy: Dataset) -> None:
    assert controls.apply(None, toy, 0) is toy
    assert controls.controlled_card(None, toy.card()) == toy.card()


def permutation(before: Modality, after: Modality) -> NDArray[np.int64]:
    """Whose content each item has, by its features, or its cosines where there are none."""
    old, new = (m.features if m.features is not None else m.cosine for m in (before, after))
    assert old is not None and new is not None
    return np.array([int(np.flatnonzero((old == row).all(axis=1))[0]) for row in new])


@pytest.mark.parametrize("toy_name", ["two", "three", "neighbours", "neighbours-only", "both"])
def test_permuted_items_have_the_content_of_another_and_graphs_become_p_a_pt(
    toy_name: str, toys: dict[str, Dataset]
) -> None:
    dataset = toys[toy_name]
    seen = controls.apply("items-permuted", dataset, seed=0)
    sources = [permutation(b, a) for b, a in zip(dataset.modalities, seen.modalities, strict=True)]
    for source, before, after in zip(sources, dataset.modalities, seen.modalities, strict=True):
        np.testing.assert_array_equal(source, sources[0], "one permutation for all modalities")
        assert (source != np.arange(dataset.items)).all(), "no item keeps its own"
        assert len(set(source)) == dataset.items
        p = np.eye(dataset.items)[source]
        if before.features is not None and after.features is not None:
            np.testing.assert_array_equal(after.features, before.features[source])
            rows = [sorted(map(tuple, m.features.tolist())) for m in (before, after)]  # type: ignore[union-attr]
            assert rows[0] == rows[1]
        wanted = p @ dense(before) @ p.T
        if before.neighbours is not None:
            np.testing.assert_array_equal(edges(after, 8), (p @ edges(before, 8) @ p.T).astype(int))
            np.testing.assert_allclose(dense(after), wanted, rtol=1e-14, atol=0)
        else:
            np.testing.assert_allclose(dense(after), wanted, atol=1e-6)


@given(st.integers(0, 500), st.integers(2, 40))
def test_any_permutation_is_one_cycle_over_all_items(seed: int, items: int) -> None:
    features = np.arange(items, dtype=np.float32)[:, None]
    seen = CONTROLS["items-permuted"].change(Modality("image", features), np.random.default_rng(seed))
    assert seen.features is not None
    source = seen.features[:, 0].astype(int)
    item, steps = int(source[0]), 1
    while item:
        item, steps = int(source[item]), steps + 1
    assert steps == items


def test_permuted_content_is_no_nearer_to_the_items_than_chance(toy: Dataset) -> None:
    """Over many draws, each item meets every other one about as often."""
    before = toy.modality("image")
    counts = np.zeros((toy.items, toy.items), dtype=int)
    for seed in range(600):
        source = permutation(before, controls.apply("items-permuted", toy, seed).modality("image"))
        counts[np.arange(toy.items), source] += 1
    assert not counts.diagonal().any()
    off = counts[~np.eye(toy.items, dtype=bool)]
    expected = 600 / (toy.items - 1)
    statistic = float(((off - expected) ** 2 / expected).sum())
    assert abs(statistic - len(off)) < 5 * np.sqrt(2 * len(off)), "chi-square, about as many degrees of freedom"


@pytest.mark.parametrize("toy_name", ["two", "neighbours", "neighbours-only", "both"])
def test_noise_has_the_size_of_the_features_and_builds_the_graphs(toy_name: str, toys: dict[str, Dataset]) -> None:
    dataset = toys[toy_name]
    seen = controls.apply("noise", dataset, seed=0)
    for before, after in zip(dataset.modalities, seen.modalities, strict=True):
        assert after.origin == "synthetic"
        if before.features is not None and after.features is not None:
            assert after.features.shape == before.features.shape
            ratio = np.square(after.features).mean() / np.square(before.features).mean()
            assert 0.7 < ratio < 1.3
        if before.neighbours is not None and after.neighbours is not None and after.features is not None:
            rebuilt = Modality("image", after.features)
            np.testing.assert_array_equal(edges(after, 8), edges(rebuilt, 8))
        assert (edges(after, K) != edges(before, K)).any()


def test_noise_is_drawn_for_each_modality_by_itself() -> None:
    twin = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    pairs = np.array([[0, 1]])
    dataset = Dataset("d", 1, 50, pairs, pairs, pairs, (Modality("image", twin), Modality("text", twin)))
    image, text = controls.apply("noise", dataset, 0).modalities
    assert image.features is not None and text.features is not None
    assert abs(np.corrcoef(image.features.ravel(), text.features.ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("toy_name", ["two", "neighbours", "neighbours-only", "both"])
@pytest.mark.parametrize("edge_weights", ["cosine", "binary"])
def test_constant_content_has_no_edges(toy_name: str, edge_weights: str, toys: dict[str, Dataset]) -> None:
    for m in controls.apply("constant", toys[toy_name], 0).modalities:
        assert m.features is None or (m.features == m.features[0]).all()
        assert knn_matrix(*modality_neighbours(m, K), edge_weights=edge_weights).nnz == 0


@pytest.mark.parametrize("toy_name", ["two", "neighbours", "neighbours-only", "both"])
def test_random_neighbours_keep_degrees_cosines_and_features(toy_name: str, toys: dict[str, Dataset]) -> None:
    dataset = toys[toy_name]
    seen = controls.apply("random-neighbours", dataset, seed=0)
    for before, after in zip(dataset.modalities, seen.modalities, strict=True):
        np.testing.assert_array_equal(before.features, after.features)
        if before.neighbours is None and before.features is not None:  # with all ranks, as items at equal cosines tie
            ids, cosines = nearest(torch.from_numpy(before.features), toys[toy_name].items // 2)
            before = dataclasses.replace(before, neighbours=ids.numpy(), cosine=cosines.numpy())
        assert (edges(before, 3) != edges(after, 3)).any()
        for k in range(1, 9):
            old, new = edges(before, k), edges(after, k)
            assert new.max() == 1, "no neighbour twice"
            np.testing.assert_array_equal(new.sum(axis=0), old.sum(axis=0))
            np.testing.assert_array_equal(new.sum(axis=1), old.sum(axis=1))
            np.testing.assert_array_equal(new.diagonal(), old.diagonal())
            np.testing.assert_allclose(modality_neighbours(after, k)[1], modality_neighbours(before, k)[1], atol=1e-6)


def ring(items: int, k: int) -> Modality:
    """Each item's neighbours are itself and the next k - 1."""
    ids = (np.arange(items)[:, None] + np.arange(k)) % items
    return Modality("image", None, ids.astype(np.int32), np.ones((items, k), dtype=np.float32))


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 30))
def test_rewiring_any_graph_keeps_it_simple_and_its_degrees(seed: int, items: int, k: int) -> None:
    before = ring(items, min(k, items))
    after = CONTROLS["random-neighbours"].change(before, np.random.default_rng(seed))
    for ranks in range(1, min(k, items) + 1):
        old, new = edges(before, ranks), edges(after, ranks)
        assert new.max() == 1
        for axis in (0, 1):
            np.testing.assert_array_equal(new.sum(axis=axis), old.sum(axis=axis))


def test_random_neighbours_are_the_old_ones_no_more_often_than_by_chance() -> None:
    before = ring(400, 10)
    after = CONTROLS["random-neighbours"].change(before, np.random.default_rng(0))
    kept = int((edges(before, 10) & edges(after, 10)).sum()) - 400  # less the items themselves
    assert kept < 3 * 400 * 9 * 9 / 400


def test_one_modality_in_all_places(toys: dict[str, Dataset]) -> None:
    audio, _, text = toys["three"].modalities
    first = controls.apply("same-modality", toys["three"], 0)
    assert [m.name for m in first.modalities] == ["audio", "image", "text"]
    assert all(same(m, audio) for m in first.modalities)
    assert all(same(m, text) for m in controls.apply("same-modality:text", toys["three"], 0).modalities)
    proxied = toys["two"].with_modalities(dataclasses.replace(toys["two"].modality("image"), origin="proxy"), text)
    assert [m.origin for m in controls.apply("same-modality", proxied, 0).modalities] == ["proxy", "proxy"]


def test_controls_that_do_not_apply_say_why(toys: dict[str, Dataset]) -> None:
    cards: dict[str, Card] = {name: dataset.card() for name, dataset in toys.items()}
    assert controls.unusable("noise", cards["none"]) == "the data set has no modalities"
    assert controls.unusable("same-modality", cards["one"]) == "the data set has one modality only"
    assert controls.unusable("same-modality:audio", cards["two"]) == "the data set has no modality 'audio'"
    assert all(controls.unusable(name, cards["both"]) is None for name in CONTROLS)


@pytest.mark.parametrize("name", ["items-permutated", "noise:text", "same-modality:", ""])
def test_an_unknown_control_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match=r"here: unknown control '.*'"):
        controls.control(name, "here")
