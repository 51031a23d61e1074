"""Arrays of which only some rows are in memory at a time, so that a set of any size can be judged."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BLOCK = 512  # of some products of a block as many rows again are made, one for each of 512 groups


class Rows(Protocol):
    """What gives rows when it is asked for them: an array, a file, or a choice of either's rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


class OnDisk:
    """The array of an .npy file, its rows by a slice or by their numbers.

    They are read: of a file that is mapped, the pages around each row would be resident as well.
    """

    def __init__(self, path: Path) -> None:
        array = np.load(path, mmap_mode="r")
        self._path, self._offset, self._length = path, array.offset, len(array)
        self._row = np.empty(array.shape[1:], array.dtype)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any) -> np.ndarray:
        rows = (
            np.arange(*rows.indices(len(self)))
            if isinstance(rows, slice)
            else np.asarray(rows, np.int64)
        )
        first = np.flatnonzero(
            np.diff(rows, prepend=-2) != 1
        )  # of rows one after another, which are read at once
        starts = self._offset + rows[first] * self._row.nbytes
        sizes = np.diff(first, append=len(rows)) * self._row.nbytes
        with self._path.open("rb", buffering=0) as file:
            spans = zip(sizes.tolist(), starts.tolist(), strict=True)
            data = bytearray().join(os.pread(file.fileno(), size, start) for size, start in spans)
        return np.ndarray((len(rows), *self._row.shape), self._row.dtype, data)


class Chosen:
    """Some rows of others."""

    def __init__(self, rows: Rows, chosen: np.ndarray) -> None:
        self._rows, self._chosen = rows, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self._rows[self._chosen[rows]])


def blocks(total: int) -> Iterator[slice]:
    """Slices that cover so many rows, a block after the other."""
    return (slice(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK))


def in_blocks(arrays: Iterable[np.ndarray], rows: int = BLOCK) -> Iterator[np.ndarray]:
    """The rows of all arrays in arrays of so many rows each, the last of fewer."""
    waiting: list[np.ndarray] = []
    for array in arrays:
        waiting.append(array)
        if sum(map(len, waiting)) < rows:
            continue
        whole = np.concatenate(waiting)
        full = len(whole) - len(whole) % rows
        yield from np.split(whole[:full], full // rows)
        waiting = [whole[full:]]
    yield from [np.concatenate(waiting)] if sum(map(len, waiting)) else []
