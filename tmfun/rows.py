"""An .npy file that is written row by row, in any order, and never held in memory.

Plain writes, no memory map: the pages of a map would count as this process's memory.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 256  # rows


class RowFile:
    """A new .npy file of `rows` x `width` float32, all 0 at first."""

    def __init__(self, path: Path, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self._stream = path.open("w+b")
        shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(self._stream, shape)
        self._start = self._stream.tell()
        self._stream.truncate(self._start + rows * width * 4)

    def write(self, first: int, block: NDArray[np.float32]) -> None:
        """Write `block` (any number of rows, width) to the rows from `first` on."""
        self._stream.seek(self._start + first * self.width * 4)
        self._stream.write(np.ascontiguousarray(block, dtype="<f4").tobytes())

    def read(self, first: int, count: int = 1) -> NDArray[np.float32]:
        """The rows from `first` on, (count, width)."""
        self._stream.seek(self._start + first * self.width * 4)
        return np.frombuffer(self._stream.read(count * self.width * 4), dtype="<f4").reshape(count, self.width)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All rows in order, some at a time: (first row, block)."""
        for first in range(0, self.rows, AT_ONCE):
            yield first, self.read(first, min(AT_ONCE, self.rows - first))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()
