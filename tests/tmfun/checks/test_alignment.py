from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import leaves_list, linkage

from tmfun.checks import alignment
from tmfun.checks.alignment import HERE, Place
from tmfun.checks.edges import Edges, file_edges, knn_edges
from tmfun.checks.findings import Finding
from tmfun.checks.signal import CoInteraction
from tmfun.dataset import SPLITS, Dataset

SEEDS = range(4)


def aligned(use: CoInteraction, edges: Edges, synthetic: bool = False) -> Finding:
    return alignment.check("modality m", "features", use, edges, synthetic)[1]


def sorted_by_kind(dataset: Dataset, modality: str) -> Dataset:
    """The same data with items renamed so that neighbouring ids have like content."""
    features = dataset.modality(modality).features
    assert features is not None
    order = leaves_list(linkage(features, "average"))
    name = np.argsort(order)
    pairs = {}
    for split in SPLITS:
        old = getattr(dataset, split)
        pairs[split] = np.column_stack([old[:, 0], name[old[:, 1]]])
    changed = replace(dataset, **pairs)
    kept = dataset.modality(modality)
    return changed.with_modalities(replace(kept, features=features[order]))


@pytest.mark.parametrize("seed", SEEDS)
def test_true_rows_are_aligned(seed: int, shop: Any) -> None:
    dataset = shop.generated(seed=seed)
    use = CoInteraction(dataset)
    for modality in dataset.modalities:
        found = aligned(use, knn_edges(modality))
        assert found.level == "ok" and found.sentence.startswith("aligned")
        assert max(found.numbers["z"], key=found.numbers["z"].get) == 0


@pytest.mark.parametrize("rows", [-2, -1, 1, 2, 5, 100])
@pytest.mark.parametrize("seed", SEEDS)
def test_moved_rows_are_told_by_how_much(seed: int, rows: int, shop: Any) -> None:
    dataset = shop.generated(seed=seed)
    moved = shop.laid(dataset.modality("text"), shop.moved(400, rows))
    found = aligned(CoInteraction(dataset), knn_edges(moved), synthetic=True)
    assert found.level == "error"
    assert (found.numbers["offset"], found.numbers["backwards"], found.numbers["from_row"]) == (-rows, False, 0)
    assert f"row r fits item r {-rows:+d}" in found.sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_reversed_rows_are_told(seed: int, shop: Any) -> None:
    dataset = shop.generated(seed=seed)
    found = aligned(CoInteraction(dataset), knn_edges(shop.laid(dataset.modality("image"), np.arange(400)[::-1])))
    assert found.level == "error" and found.numbers["backwards"] and "item 399 - r" in found.sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_in_any_other_order_are_not_verified_and_no_order_is_invented(seed: int, shop: Any) -> None:
    dataset = shop.generated(seed=seed)
    order = np.random.default_rng(seed).permutation(400)
    use = CoInteraction(dataset)
    signal, found = alignment.check("", "features", use, knn_edges(shop.laid(dataset.modality("image"), order)), False)
    assert (signal.level, signal.numbers["word"]) == ("warning", "no signal beyond chance")
    assert found.level == "warning" and "too little signal" in found.sentence


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("rows", [-1, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_row_lost_or_too_many_is_told_with_its_place(seed: int, rows: int, share: float, shop: Any) -> None:
    dataset, at = shop.generated(seed=seed), int(400 * share)
    order = np.arange(400)
    order[at:] = np.minimum(order[at:] - rows, 399)
    found = aligned(CoInteraction(dataset), knn_edges(shop.laid(dataset.modality("image"), order)))
    assert found.level == "error" and found.numbers["offset"] == -rows
    assert abs(found.numbers["from_row"] - at) <= 40 and "shifted" in found.sentence


def test_a_neighbours_file_that_moved_with_its_ids_is_told_too(strong: Dataset, shop: Any) -> None:
    use = CoInteraction(strong)
    assert aligned(use, file_edges(strong.modality("image"))).level == "ok"
    found = aligned(use, file_edges(shop.laid(strong.modality("image"), shop.moved(400, 3))))
    assert found.level == "error" and found.numbers["offset"] == -3


@pytest.mark.parametrize("seed", SEEDS)
def test_where_neighbouring_rows_are_alike_the_lead_decides_and_not_the_fit(seed: int, shop: Any) -> None:
    dataset = sorted_by_kind(shop.generated(seed=seed, clusters=15, reliability=1), "image")
    use, image = CoInteraction(dataset), dataset.modality("image")
    true = aligned(use, knn_edges(image))
    assert min(true.numbers["z"].values()) > 4, "a moved graph fits better than chance as well"
    assert true.level != "error"
    moved = aligned(use, knn_edges(shop.laid(image, shop.moved(400, 2))))
    assert moved.level == "error" and moved.numbers["offset"] == -2


@pytest.mark.parametrize("seed", range(12))
def test_without_signal_nothing_is_claimed(seed: int, shop: Any) -> None:
    dataset = shop.generated(users=200, items=150, clusters=20, modalities="image", signal=0, seed=seed)
    use, edges = CoInteraction(dataset), knn_edges(dataset.modality("image"))
    assert aligned(use, edges).level == "warning" and aligned(use, edges, synthetic=True).level == "note"


def test_nothing_can_be_told_of_graphs_without_edges_or_users_in_common(shop: Any) -> None:
    dataset = shop.generated()
    use, edges = CoInteraction(dataset), knn_edges(dataset.modality("image"))
    (empty,) = alignment.check("", "features", use, edges.part(np.zeros(len(edges), bool)), False)
    assert empty.level == "warning" and "empty" in empty.sentence
    apart = replace(dataset, users=400, train=np.column_stack([np.arange(400)] * 2))
    found = aligned(CoInteraction(apart), edges)
    assert found.level == "warning" and "no two of these items" in found.sentence


def test_places_lay_rows_on_items() -> None:
    edges = Edges(10, np.array([0, 4, 9]), np.array([1, 5, 4]), np.arange(0))

    def laid(place: Place) -> list[tuple[int, int]]:
        moved = place.of(edges)
        return list(zip(moved.i.tolist(), moved.j.tolist(), strict=True))

    assert laid(HERE) == [(0, 1), (4, 5), (9, 4)]
    assert laid(Place(2)) == [(2, 3), (6, 7), (1, 6)]
    assert laid(Place(1, backwards=True)) == [(0, 9), (6, 5), (1, 6)]
    assert laid(Place(-1, stretch=5)) == [(0, 1), (4, 4), (8, 4)]


def test_a_lead_is_in_units_of_the_larger_standard_error() -> None:
    edges = Edges(4, np.array([0, 0, 1, 2]), np.array([1, 2, 3, 1]), np.arange(0))
    here, there = np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 1, 1])
    mean = 6 / 4
    assert alignment._lead(edges, here, there, 10.0) == pytest.approx(mean / (10 * 2**0.5))
    paired = np.sqrt(3) * np.std([1, 2, 3]) / 4  # the differences of rows 0, 1 and 2
    assert alignment._lead(edges, here, there, 0.0) == pytest.approx(mean / paired)
