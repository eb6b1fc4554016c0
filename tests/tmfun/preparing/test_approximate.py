import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmfun.errors import InputError
from tmfun.preparing import approximate
from tmfun.preparing.approximate import Found, UnitRows, recall, search


def clustered(items: int, width: int, clusters: int = 30, within: float = 1.0, seed: int = 1) -> NDArray[np.float32]:
    """Features whose neighbours lie in the same cluster."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, width))
    noise = within * rng.standard_normal((items, width))
    return (centres[rng.integers(clusters, size=items)] + noise).astype(np.float32)


def cosines(features: NDArray) -> NDArray[np.float64]:
    """Between all rows, 0 with a zero row."""
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x @ x.T


def share(found: Found, features: NDArray) -> float:
    """Of the exact neighbours of all items, themselves left out, those that were found: by ids."""
    table = cosines(features)
    np.fill_diagonal(table, np.inf)
    k = found.neighbours.shape[1]
    exact = np.argsort(-table, axis=1)[:, 1:k]
    return float(np.mean([np.isin(e, f).mean() for e, f in zip(exact, found.neighbours, strict=True)]))


def searched(features: NDArray, k: int = 10, probes: int = approximate.PROBES) -> Found:
    return search(UnitRows(features), k, lambda what, share: None, probes)


def sound(found: Found, features: NDArray) -> None:
    """What holds of any neighbours: distinct, the item itself first, true cosines that fall."""
    items, k = found.neighbours.shape
    assert found.neighbours.dtype == np.int32 and found.cosine.dtype == np.float32
    assert all(len(set(row)) == k for row in found.neighbours.tolist())
    assert found.neighbours.min() >= 0 and found.neighbours.max() < items
    np.testing.assert_array_equal(found.neighbours[:, 0], np.arange(items))
    assert (np.diff(found.cosine, axis=1) <= 0).all()
    true = np.take_along_axis(cosines(features), found.neighbours.astype(np.int64), axis=1)
    np.testing.assert_allclose(found.cosine, true, atol=1e-6)


@pytest.mark.parametrize("width", [16, 200])  # below and above the components that are compared
def test_most_exact_neighbours_are_found_and_fewer_probes_find_fewer(width: int) -> None:
    features = clustered(4000, width)
    found, poor = searched(features, probes=24), searched(features, probes=1)
    sound(found, features)
    sound(poor, features)
    assert share(found, features) > 0.95 > 0.9 > share(poor, features)
    assert found.how["index"] == ("IVF102,Flat" if width == 16 else "PCA128,IVF102,Flat")
    assert (found.how["probes"], found.how["candidates"]) == (24, 10 if width == 16 else 40)


def test_the_recall_it_tells_is_that_of_the_rows_it_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered(1500, 16)
    monkeypatch.setattr(approximate, "SAMPLE", 1500)  # all of them
    for probes in (1, 4, 100):
        found = searched(features, probes=probes)
        assert found.how["recall_rows"] == 1500
        assert found.how["recall"] == pytest.approx(share(found, features), abs=1e-4)  # neighbours as near count
    assert found.how["recall"] == 1.0 and found.how["probes"] == 38, "all lists were searched"


def test_recall_counts_what_is_as_near_and_not_the_item_itself() -> None:
    rows = UnitRows(np.array([[1, 0], [1, 1], [1, 1], [1, 2], [0, 1]], dtype=np.float32))
    own = np.array([1])
    near = 3 / 10**0.5  # of item 3
    assert recall(rows, own, np.array([[1, 1, near]], dtype=np.float32)) == 1.0
    assert recall(rows, own, np.array([[1, 1, 0.1]], dtype=np.float32)) == 0.5
    assert recall(rows, own, np.array([[1]], dtype=np.float32)) == 1.0


def test_the_same_features_give_the_same_bits() -> None:
    features = clustered(3000, 150, seed=5)
    first, second = searched(features), searched(features.copy())
    np.testing.assert_array_equal(first.neighbours, second.neighbours)
    assert first.cosine.tobytes() == second.cosine.tobytes() and first.how == second.how


def test_how_much_is_read_at_a_time_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered(900, 12)
    whole = searched(features)
    monkeypatch.setattr(approximate, "AT_ONCE", 7 * 12)
    parts = searched(features)
    np.testing.assert_array_equal(whole.neighbours, parts.neighbours)
    np.testing.assert_allclose(whole.cosine, parts.cosine, atol=1e-6)


def test_any_float_type_is_read() -> None:
    features = clustered(200, 8).astype(np.float16)
    found = searched(features)
    np.testing.assert_array_equal(found.neighbours, searched(features.astype(np.float32)).neighbours)
    sound(found, features)


def test_a_zero_row_has_cosine_0_and_stands_in_no_list() -> None:
    features = clustered(300, 8)
    features[[0, 17]], features[299] = 0, 1e-20  # whose length is no float32
    found = searched(features, k=5)
    zero = [0, 17, 299]
    assert not found.cosine[zero].any() and found.how["zero_rows"] == 3
    np.testing.assert_array_equal(found.neighbours[zero, 0], zero)
    np.testing.assert_array_equal(found.neighbours[299], [299, 0, 1, 2, 3])
    others = np.delete(np.arange(300), zero)
    assert not np.isin(found.neighbours[others], zero).any()
    assert share(found, features) > 0.97


def test_an_item_of_many_copies_is_its_own_neighbour() -> None:
    features = clustered(400, 8)
    features[::2] = features[0]
    found = searched(features, k=4, probes=100)
    sound(found, features)
    np.testing.assert_allclose(found.cosine[::2], 1, atol=1e-6)
    assert found.how["recall"] == 1.0, "any copy is as near"


def test_items_whose_lists_hold_too_few_are_searched_for_exactly() -> None:
    features = clustered(800, 8)
    found = searched(features, k=30, probes=1)
    sound(found, features)
    assert 0 < found.how["rows_searched_exactly"] < 800
    table = cosines(features)
    exact = -np.sort(-table, axis=1)[:, :30]
    assert (np.abs(found.cosine - exact).max(axis=1) < 1e-6).sum() >= found.how["rows_searched_exactly"]


@pytest.mark.parametrize("alive", [1, 3])
def test_fewer_directions_than_neighbours_leave_the_rest_to_zero_rows(alive: int) -> None:
    features = np.zeros((20, 4), dtype=np.float32)
    features[5 : 5 + alive] = clustered(alive, 4)
    found = searched(features, k=8)
    assert found.how["rows_searched_exactly"] == alive
    sound(found, features)


@pytest.mark.parametrize("k", [1, 12])
def test_k_may_be_one_or_all(k: int) -> None:
    features = clustered(12, 5)
    found = searched(features, k=k)
    sound(found, features)
    assert found.how["recall"] == 1.0


def broken(change: Callable[[NDArray], Any]) -> NDArray:
    features = clustered(20, 3)
    return changed if (changed := change(features)) is not None else features


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (broken(lambda f: f.__setitem__((7, 1), np.nan)), "the features of item 7 are not finite"),
        (broken(lambda f: f.__setitem__((19, 2), np.inf)), "the features of item 19 are not finite"),
        (broken(lambda f: np.ones_like(f)), "the same for every item"),
        (broken(lambda f: f[0]), r"shape \(3,\), not rows of numbers"),
        (broken(lambda f: f[:, :0]), r"shape \(20, 0\), not rows of numbers"),
        (broken(lambda f: f.astype(np.int64)), "type int64"),
    ],
)
def test_features_that_no_data_set_may_have_are_refused(features: NDArray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        UnitRows(features)


def test_without_faiss_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"python -m pip install -e '\.\[approximate\]'"):
        searched(clustered(50, 4))
