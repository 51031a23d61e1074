"""What was measured, on disk: finished identities are added, found again by a later run, and read in pieces.

FOLDER/00000.json        [identity, images, corners] of each identity in this chunk; written last, so it vouches for all
FOLDER/00000.parquet     the rows of Measured.table, FOLDER/00000.{thumbs,embeddings,background}.npy its arrays
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from refsr.data.measurements import Measured
from refsr.data.rows import OnDisk, Rows

FLUSH = 2048  # images that may be lost to a kill
_ARRAYS = ("thumbs", "embeddings", "background")


class _Home(NamedTuple):
    """Where an identity lies: its chunk, and its rows in the table and in the background."""

    chunk: Path  # without a suffix
    rows: slice
    corners: slice


@dataclass(frozen=True)
class Gathered:
    """What was measured of many identities, as in `Measured`, its arrays left on the disk; good until the next."""

    table: pd.DataFrame
    thumbs: Rows
    embeddings: Rows
    background: Rows


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

    def gather(self, identities: Sequence[str]) -> Gathered:
        """These identities in this order, whoever measured them and when."""
        homes = [self._homes[identity] for identity in identities]
        rows = [home.rows for home in homes]
        return Gathered(
            self._table(homes),
            self._array("thumbs", homes, rows),
            self._array("embeddings", homes, rows),
            self._array("background", homes, [home.corners for home in homes]),
        )

    def _know(self, chunk: Path, members: Sequence[tuple[str, int, int]]) -> None:
        ends = np.cumsum([(0, 0), *((images, corners) for _, images, corners in members)], axis=0).tolist()
        for (identity, _, _), (start, end) in zip(members, pairwise(ends), strict=True):
            self._homes[identity] = _Home(chunk, slice(start[0], end[0]), slice(start[1], end[1]))

    def _table(self, homes: list[_Home]) -> pd.DataFrame:
        """The rows of all, in their order; while it is made there are two of it, and no more."""
        chunks: dict[Path, list[int]] = {}
        for at, home in enumerate(homes):
            chunks.setdefault(home.chunk, []).append(at)
        whole = pd.concat(
            [_some(f"{chunk}.parquet", [homes[at] for at in members]) for chunk, members in chunks.items()]
        )
        sizes = np.array([home.rows.stop - home.rows.start for home in homes])
        placed = np.concatenate(list(chunks.values()))  # which identity stands where, chunk after chunk
        starts = np.empty(len(homes), np.int64)
        starts[placed] = np.cumsum(sizes[placed]) - sizes[placed]
        order = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
        return whole.iloc[order].reset_index(drop=True)

    def _array(self, name: str, homes: list[_Home], rows: list[slice]) -> OnDisk:
        """The rows of all, in their order, in a file of their own."""
        path = self.folder / f"{name}.npy"
        first = np.load(f"{homes[0].chunk}.{name}.npy", mmap_mode="r")
        length = sum(part.stop - part.start for part in rows)
        header = header_data_from_array_1_0(first) | {"shape": (length, *first.shape[1:])}
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            write_array_header_1_0(file, header)
            for home, part in zip(homes, rows, strict=True):
                file.write(np.load(f"{home.chunk}.{name}.npy", mmap_mode="r")[part].tobytes())
        return OnDisk(path, length)


def _some(path: str, homes: list[_Home]) -> pd.DataFrame:
    """The rows of these identities in a chunk's table; what they are looked up by costs nothing to set anew."""
    table = pd.read_parquet(path)
    if sum(home.rows.stop - home.rows.start for home in homes) == len(table) and homes == sorted(homes):
        return table
    return pd.concat([table.iloc[home.rows] for home in homes])
