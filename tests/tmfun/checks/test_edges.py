import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tmfun.checks import edges as module
from tmfun.checks.edges import Edges, file_edges, knn_edges, scan, where_it_fits
from tmfun.dataset import Dataset, Modality

IDS = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0], [0, 1, 2]], dtype=np.int32)  # row 3 lacks itself
COSINE = np.array([[1, 0.5, 0.2], [1, 0.4, 0], [1, 0.3, -0.1], [0.9, 0.8, 0.7]], dtype=np.float32)


def random_edges(rng: np.random.Generator, items: int, count: int) -> Edges:
    keys = rng.choice(items * items, min(count, items * items), replace=False)
    keys = keys[keys // items != keys % items]
    return Edges(items, keys // items, keys % items, np.arange(0))


def pairs(edges: Edges) -> set[tuple[int, int]]:
    return set(zip(edges.i.tolist(), edges.j.tolist(), strict=True))


def test_edges_of_a_file_leave_out_the_item_itself_and_what_is_not_alike() -> None:
    found = file_edges(Modality("m", None, IDS, COSINE))
    assert pairs(found) == {(0, 1), (0, 2), (1, 0), (2, 3), (3, 0), (3, 1), (3, 2)}
    assert found.own.tolist() == [0, 1, 2] and len(found) == 7
    assert np.array_equal(found.matrix.toarray().nonzero(), np.array(sorted(pairs(found))).T)


def test_edges_of_features_are_their_nearest_neighbours_whatever_the_file_says() -> None:
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    found = knn_edges(Modality("m", features, IDS[:, :2], COSINE[:, :2]))
    assert pairs(found) == {(0, 1), (1, 0), (2, 3), (3, 2)} and found.own.tolist() == [0, 1, 2, 3]


def test_shares_count_common_edges_and_recall_those_to_oneself_too() -> None:
    first = Edges(4, np.array([0, 1, 2, 3]), np.array([1, 2, 3, 0]), np.array([0, 1, 2]))
    second = Edges(4, np.array([0, 1]), np.array([1, 3]), np.array([2, 3]))
    assert first.share_in(second) == 1 / 4 and second.share_in(first) == 1 / 2
    assert first.recall_in(second) == 2 / 7 and second.recall_in(first) == 2 / 4
    assert first.share_in(first) == first.recall_in(first) == 1
    nothing = Edges(4, *[np.zeros(0, np.int64)] * 3)
    assert nothing.share_in(first) == nothing.recall_in(first) == 0


def test_moving_and_turning_rename_rows() -> None:
    edges = Edges(5, np.array([0, 4]), np.array([1, 2]), np.array([3]))
    assert pairs(edges.moved(2)) == {(2, 3), (1, 4)} and edges.moved(2).own.tolist() == [0]
    assert pairs(edges.moved(-1)) == {(4, 0), (3, 1)}
    assert pairs(edges.reversed()) == {(4, 3), (0, 2)}
    assert pairs(edges.part(np.array([False, True]))) == {(4, 2)}


@given(st.integers(2, 9), st.integers(0, 40), st.integers(1, 30), st.integers(0, 2**32))
def test_a_scan_is_the_sum_at_every_offset(items: int, edges: int, entries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_edges(rng, items, edges)
    matrix = np.zeros((items, items))
    matrix.flat[rng.choice(items * items, min(entries, items * items), replace=False)] = rng.random()
    expected = [
        sum(matrix[(i + o) % items, (j + o) % items] for i, j in zip(graph.i, graph.j, strict=True))
        for o in range(items)
    ]
    np.testing.assert_allclose(scan(graph, sp.csr_array(matrix)), expected, atol=1e-12)


def test_a_scan_in_many_parts_is_the_same(strong: Dataset, monkeypatch) -> None:
    edges = knn_edges(strong.modality("image"))
    whole = scan(edges, edges.matrix)
    monkeypatch.setattr(module, "PAIRS", 100)
    np.testing.assert_array_equal(scan(edges, edges.matrix), whole)
    assert whole[0] == len(edges)


def test_two_graphs_fit_at_the_offset_by_which_one_was_moved(strong: Dataset) -> None:
    edges = knn_edges(strong.modality("image"))
    for offset in (0, 1, -3, 150, -199):
        assert where_it_fits(edges, edges.moved(-offset)) == (offset, 1.0)
