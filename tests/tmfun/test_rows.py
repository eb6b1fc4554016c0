from pathlib import Path

import numpy as np
import pytest

from tmfun.rows import AT_ONCE, RowFile


@pytest.mark.parametrize("rows", [1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE - 1])
def test_rows_written_in_any_order_are_an_array_that_numpy_loads(rows: int, tmp_path: Path) -> None:
    expected = np.random.default_rng(0).standard_normal((rows, 5)).astype(np.float32)
    with RowFile(tmp_path / "x.npy", rows, 5) as file:
        for row in np.random.default_rng(1).permutation(rows).tolist():
            file.write(row, expected[row : row + 1])
        np.testing.assert_array_equal(file.read(rows - 1)[0], expected[-1])
        blocks = list(file.blocks())
    assert [first for first, _ in blocks] == list(range(0, rows, AT_ONCE))
    np.testing.assert_array_equal(np.vstack([block for _, block in blocks]), expected)
    found = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_rows_that_are_not_written_are_zero(tmp_path: Path) -> None:
    with RowFile(tmp_path / "x.npy", 4, 3) as file:
        file.write(1, np.ones((2, 3), dtype=np.float64))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.array([0, 1, 1, 0])[:, None] * np.ones((4, 3)))
