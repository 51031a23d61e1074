"""Arrays of which only some rows are in memory at a time, so that sets of any size fit."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BLOCK = 512  # rows; some products of a block are as large again for each of 512 groups


class Rows(Protocol):
    """Returns rows by a slice or by their numbers: an array, a file, or some rows of either."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


class OnDisk:
    """The array of an .npy file; rows are read by a slice or by their numbers.

    They are read, not mapped: of a mapped file the pages around each row would be resident too.
    """

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r")
        self._path = path
        self._offset, self._length = array.offset, len(array)
        self._row = np.empty(array.shape[1:], array.dtype)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows, np.int64)
        # Consecutive rows are read at once.
        first = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        starts = self._offset + rows[first] * self._row.nbytes
        sizes = np.diff(first, append=len(rows)) * self._row.nbytes
        spans = zip(sizes.tolist(), starts.tolist(), strict=True)
        with self._path.open("rb", buffering=0) as file:
            handle = file.fileno()
            data = bytearray().join(os.pread(handle, size, start) for size, start in spans)
        return np.ndarray((len(rows), *self._row.shape), self._row.dtype, data)


class Chosen:
    """Some rows of another `Rows`, renumbered from 0."""

    def __init__(self, rows: Rows, chosen: np.ndarray) -> None:
        self._rows, self._chosen = rows, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self._rows[self._chosen[rows]])


def blocks(total: int) -> Iterator[slice]:
    """Slices of at most BLOCK rows that together cover `total` rows."""
    for start in range(0, total, BLOCK):
        yield slice(start, min(start + BLOCK, total))


def in_blocks(arrays: Iterable[np.ndarray], rows: int = BLOCK) -> Iterator[np.ndarray]:
    """The rows of all arrays, in arrays of `rows` rows each; the last may have fewer."""
    waiting: list[np.ndarray] = []
    for array in arrays:
        waiting.append(array)
        if sum(map(len, waiting)) < rows:
            continue
        whole = np.concatenate(waiting)
        full = len(whole) - len(whole) % rows
        yield from np.split(whole[:full], full // rows)
        waiting = [whole[full:]]
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)
