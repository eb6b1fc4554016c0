import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from tmfun import graphs
from tmfun.dataset import Dataset, Modality
from tmfun.errors import InputError
from tmfun.graphs import (
    Graph,
    interaction_graph,
    knn_matrix,
    lightgcn_layers,
    modality_neighbours,
    nearest,
    normalised,
    propagate,
)


def sparse(rows: int, columns: int, seed: int = 0) -> NDArray[np.float64]:
    """A matrix in which rows 0 and 3 and column 2 are empty."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.4)
    matrix[[0, 3]] = 0
    matrix[:, 2] = 0
    return matrix.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("shape", [(7, 7), (9, 5), (5, 11)])
def test_a_product_is_that_of_the_dense_matrix(shape: tuple[int, int]) -> None:
    matrix = sparse(*shape)
    x = torch.randn(shape[1], 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    product = Graph(sp.csr_array(matrix)) @ x
    np.testing.assert_allclose(product, matrix @ x.numpy(), atol=1e-14)
    assert (product[0] == 0).all() and (product[3] == 0).all(), "rows without entries give 0"


def test_a_product_keeps_the_type_of_its_operand() -> None:
    graph = Graph(sp.csr_array(sparse(6, 6)))
    assert (graph @ torch.ones(6, 2)).dtype == torch.float32
    assert (graph @ torch.ones(6, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_product_takes_operands_that_are_not_contiguous() -> None:
    matrix = sparse(6, 5)
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(Graph(sp.csr_array(matrix)) @ x.T, matrix @ x.numpy().T, atol=1e-14)


@pytest.mark.parametrize("shape", [(6, 6), (7, 4)])
def test_the_gradient_is_that_of_the_product(shape: tuple[int, int]) -> None:
    graph = Graph(sp.csr_array(sparse(*shape)))
    x = torch.randn(shape[1], 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: graph @ x, (x,))
    assert torch.autograd.gradcheck(lambda x: (graph @ x).sin() @ x.T @ x, (x,)) if shape[0] == shape[1] else True


def test_entries_that_come_twice_and_out_of_order_are_summed() -> None:
    coo = sp.coo_array(([1.0, 2.0, 4.0, 8.0], ([2, 0, 0, 0], [0, 2, 1, 2])), shape=(3, 3))
    graph = Graph(coo)
    expected = np.array([[0, 4, 10], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(graph.matrix().toarray(), expected)
    np.testing.assert_array_equal(graph @ torch.eye(3), expected)


def test_a_graph_with_no_entries_gives_0() -> None:
    graph = Graph(sp.csr_array((4, 4)))
    x = torch.ones(4, 2, requires_grad=True)
    (graph @ x).sum().backward()
    assert (graph @ x == 0).all()
    assert x.grad is not None and (x.grad == 0).all()


def test_a_graph_is_frozen_and_not_part_of_a_checkpoint() -> None:
    graph = Graph(sp.csr_array(sparse(6, 6)))
    assert graph.state_dict() == {}
    assert list(graph.parameters()) == []


def test_propagate_is_a_power_of_the_matrix() -> None:
    matrix = sparse(6, 6)
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for layers in range(4):
        expected = np.linalg.matrix_power(matrix, layers) @ x.numpy()
        np.testing.assert_allclose(propagate(Graph(sp.csr_array(matrix)), x, layers), expected, atol=1e-12)


def test_lightgcn_layers_are_the_mean_of_the_powers() -> None:
    matrix = sparse(6, 6)
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for layers in range(4):
        expected = sum(np.linalg.matrix_power(matrix, n) for n in range(layers + 1)) @ x.numpy() / (layers + 1)
        np.testing.assert_allclose(lightgcn_layers(Graph(sp.csr_array(matrix)), x, layers), expected, atol=1e-12)


def test_the_interaction_graph_is_symmetrically_normalised(toy: Dataset, dense) -> None:
    found = interaction_graph(toy).matrix().toarray()
    np.testing.assert_allclose(found, dense.interactions(toy), atol=1e-7)
    np.testing.assert_array_equal(found, found.T)
    user, item = toy.train[0]
    users, items = toy.degrees()
    assert found[user, toy.users + item] == pytest.approx(1 / np.sqrt(users[user] * items[item]))


def test_the_interaction_graph_holds_training_pairs_alone(toy: Dataset) -> None:
    found = interaction_graph(toy).matrix().toarray()[: toy.users, toy.users :]
    assert sorted(map(tuple, np.argwhere(found))) == sorted(map(tuple, toy.train))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_node_without_edges_keeps_its_share_of_its_own_embedding(toy: Dataset, layers: int) -> None:
    e = torch.randn(toy.users + toy.items, 3, generator=torch.Generator().manual_seed(0))
    g = lightgcn_layers(interaction_graph(toy), e, layers)
    for node in (39, toy.users + 28, toy.users + 29):
        torch.testing.assert_close(g[node], e[node] / (layers + 1))


def test_normalised_divides_by_the_roots_of_the_row_sums() -> None:
    matrix = np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [2.0, 5.0, 9.0]])
    expected = np.array([[1 / 4, 0, 0], [0, 0, 0], [2 / 8, 0, 9 / 16]])
    np.testing.assert_allclose(normalised(sp.csr_array(matrix)).toarray(), expected)


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    """25 rows with cosines of both signs; row 4 is zero."""
    x = np.random.default_rng(2).normal(size=(25, 5)).astype(np.float32)
    x[4] = 0
    return x


def test_nearest_finds_the_largest_cosines_in_order(features: NDArray[np.float32], dense) -> None:
    cosine = dense.cosine(features)
    ids, values = nearest(torch.from_numpy(features), 6)
    assert ids.shape == values.shape == (25, 6)
    for i in set(range(25)) - {4}:
        expected = np.argsort(-cosine[i])[:6]
        np.testing.assert_array_equal(ids[i], expected)
        np.testing.assert_allclose(values[i], cosine[i, expected], atol=1e-6)
        assert ids[i, 0] == i
    assert (values[4] == 0).all()


@pytest.mark.parametrize(("limit", "most"), [("CHUNK", 1), ("CHUNK", 7), ("CHUNK", 25), ("CELLS", 1), ("CELLS", 90)])
def test_chunks_do_not_change_the_nearest(
    features: NDArray[np.float32], limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    distinct = torch.from_numpy(np.delete(features, 4, axis=0))
    ids, values = nearest(distinct, 6)
    monkeypatch.setattr(graphs, limit, most)
    chunked_ids, chunked_values = nearest(distinct, 6)
    assert torch.equal(chunked_ids, ids)
    torch.testing.assert_close(chunked_values, values, atol=1e-6, rtol=0)


@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("edge_weights", ["cosine", "binary"])
@pytest.mark.parametrize("k", [1, 6, 25])
def test_the_knn_graph_is_equation_3(
    features: NDArray[np.float32], k: int, edge_weights: str, self_loops: bool, dense
) -> None:
    ids, values = nearest(torch.from_numpy(features), k)
    found = knn_matrix(ids.numpy(), values.numpy(), edge_weights=edge_weights, self_loops=self_loops).toarray()
    expected = dense.knn(dense.cosine(features), k, edge_weights, self_loops)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found >= 0).all() and np.isfinite(found).all()
    assert (found[4] == 0).all() and (found[:, 4] == 0).all()
    assert (found.diagonal() > 0).any() == self_loops
    if k == 6:
        assert (found != found.T).any(), "the graph is not symmetrised"


def test_negative_cosines_are_no_edges() -> None:
    neighbours, cosine = np.array([[0, 1], [1, 0]]), np.array([[1.0, -0.5], [1.0, -0.5]])
    for edge_weights in ("cosine", "binary"):
        found = knn_matrix(neighbours, cosine, edge_weights=edge_weights)
        np.testing.assert_array_equal(found.toarray(), np.eye(2))
        assert found.nnz == 2


def test_the_knn_graph_by_hand() -> None:
    neighbours, cosine = np.array([[0, 1], [1, 2], [2, 0]]), np.array([[1.0, 0.5], [1.0, 0.25], [1.0, 0.8]])
    sums = np.array([1.5, 1.25, 1.8])
    weights = np.array([[1, 0.5, 0], [0, 1, 0.25], [0.8, 0, 1]])
    np.testing.assert_allclose(knn_matrix(neighbours, cosine).toarray(), weights / np.sqrt(np.outer(sums, sums)))
    edges = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    found = knn_matrix(neighbours, cosine, edge_weights="binary", self_loops=False)
    np.testing.assert_array_equal(found.toarray(), edges)


def test_neighbours_are_computed_from_the_features(features: NDArray[np.float32]) -> None:
    ids, values = modality_neighbours(Modality("m", features), 3)
    expected_ids, expected_values = nearest(torch.from_numpy(features), 3)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(values, expected_values)


def test_a_neighbours_file_is_used_where_there_is_one(features: NDArray[np.float32]) -> None:
    given = np.tile(np.array([[3, 1, 2]], dtype=np.int32), (25, 1))
    cosine = np.tile(np.array([[0.9, 0.8, 0.7]], dtype=np.float32), (25, 1))
    for with_features in (features, None):
        ids, values = modality_neighbours(Modality("m", with_features, given, cosine), 2)
        np.testing.assert_array_equal(ids, given[:, :2])
        np.testing.assert_array_equal(values, cosine[:, :2])


def test_more_neighbours_than_the_file_holds_are_refused(features: NDArray[np.float32]) -> None:
    ids, cosine = np.zeros((25, 3), dtype=np.int32), np.ones((25, 3), dtype=np.float32)
    modality_neighbours(Modality("picture", features, ids, cosine), 3)
    with pytest.raises(InputError, match=r"4 neighbours wanted.*'picture' holds 3 per item.*lower `neighbours`"):
        modality_neighbours(Modality("picture", features, ids, cosine), 4)


def test_more_neighbours_than_items_are_all_items(features: NDArray[np.float32]) -> None:
    ids, _ = modality_neighbours(Modality("m", features), 100)
    assert np.sort(ids, axis=1).tolist() == [list(range(25))] * 25
