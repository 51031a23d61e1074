"""Arrays of which only some rows are in memory at a time, so that a set of any size can be judged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BLOCK = 4096


class Rows(Protocol):
    """What gives rows when it is asked for them: an array, a file, or a choice of either's rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


class OnDisk:
    """The array of an .npy file; it is mapped only while rows are copied out, so that no page of it stays."""

    def __init__(self, path: Path, length: int) -> None:
        self._path, self._length = path, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.array(np.load(self._path, mmap_mode="r")[rows])


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
