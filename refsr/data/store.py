"""What was measured, on disk: finished identities are added, found again by a later run, and mapped into memory.

FOLDER/00000.json        [identity, images, corners] of each identity in this chunk; written last, so it vouches for all
FOLDER/00000.parquet     the rows of Measured.table, FOLDER/00000.{thumbs,embeddings,background}.npy its arrays
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from refsr.data.measurements import Measured

FLUSH = 2048  # images that may be lost to a kill
_ARRAYS = ("thumbs", "embeddings", "background")


class _Home(NamedTuple):
    """Where an identity lies: its chunk, and its rows in the table and in the background."""

    chunk: Path  # without a suffix
    rows: slice
    corners: slice


class Store:
    """Measured identities of a folder, to which more are added, and of `others`, which are only read."""

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._homes: dict[str, _Home] = {}
        self._waiting: list[Measured] = []
        folder.mkdir(parents=True, exist_ok=True)
        for place in (*others, folder):
            for path in sorted(place.glob("[0-9]*.json")):
                self._know(path.with_suffix(""), json.loads(path.read_text()))

    def __contains__(self, identity: str) -> bool:
        return identity in self._homes

    def add(self, measured: Measured) -> None:
        """Keep what was measured of one identity; it is on the disk after the next `flush` at the latest."""
        self._waiting.append(measured)
        if sum(len(one.table) for one in self._waiting) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if not self._waiting:
            return
        chunk = self.folder / f"{len(list(self.folder.glob('[0-9]*.json'))):05d}"
        pd.concat([one.table for one in self._waiting]).to_parquet(f"{chunk}.parquet", index=False)
        for name in _ARRAYS:
            np.save(f"{chunk}.{name}.npy", np.concatenate([getattr(one, name) for one in self._waiting]))
        members = [(one.table["identity"].iloc[0], len(one.table), len(one.background)) for one in self._waiting]
        partial = chunk.with_suffix(".partial")
        partial.write_text(json.dumps(members))
        partial.replace(chunk.with_suffix(".json"))
        self._know(chunk, members)
        self._waiting = []

    def gather(self, identities: Sequence[str]) -> Measured:
        """These identities in this order, whoever measured them and when; the arrays are mapped from scratch files."""
        homes = [self._homes[identity] for identity in identities]
        table = self._table(homes)
        rows = [home.rows for home in homes]
        return Measured(
            table,
            self._array("thumbs", homes, rows),
            self._array("embeddings", homes, rows),
            self._array("background", homes, [home.corners for home in homes]),
        )

    def _know(self, chunk: Path, members: Sequence[tuple[str, int, int]]) -> None:
        ends = np.cumsum([(0, 0), *((images, corners) for _, images, corners in members)], axis=0).tolist()
        for (identity, _, _), (start, end) in zip(members, pairwise(ends), strict=True):
            self._homes[identity] = _Home(chunk, slice(start[0], end[0]), slice(start[1], end[1]))

    def _table(self, homes: list[_Home]) -> pd.DataFrame:
        parts: list[pd.DataFrame] = [pd.DataFrame()] * len(homes)
        for chunk, members in _by_chunk(homes).items():
            table = pd.read_parquet(f"{chunk}.parquet")
            for at in members:
                parts[at] = table.iloc[homes[at].rows]
        return pd.concat(parts, ignore_index=True)

    def _array(self, name: str, homes: list[_Home], rows: list[slice]) -> np.ndarray:
        ends = np.cumsum([0, *(part.stop - part.start for part in rows)])
        whole: np.ndarray | None = None
        for chunk, members in _by_chunk(homes).items():
            source = np.load(f"{chunk}.{name}.npy", mmap_mode="r")
            if whole is None:
                shape = (int(ends[-1]), *source.shape[1:])
                path = self.folder / f"{name}.npy"
                path.unlink(missing_ok=True)  # what is mapped of it elsewhere stays as it is
                whole = open_memmap(path, "w+", source.dtype, shape) if shape[0] else np.empty(shape, source.dtype)
            for at in members:
                whole[ends[at] : ends[at + 1]] = source[rows[at]]
        assert whole is not None  # noqa: S101 - there is an identity
        return whole


def _by_chunk(homes: list[_Home]) -> dict[Path, list[int]]:
    """The positions in `homes` of those in each chunk."""
    chunks: dict[Path, list[int]] = {}
    for at, home in enumerate(homes):
        chunks.setdefault(home.chunk, []).append(at)
    return chunks
