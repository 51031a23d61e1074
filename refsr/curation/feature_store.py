"""What was measured, on disk: finished identities are added, found again by a later run, and read in pieces.

FOLDER/n000001.crops  the pixels of the identity's crops; see measurements.crops_file
FOLDER/00000.json     members: [identity, images] of each identity in this chunk; files: the checksum of each file
                      written last, it vouches for all: a chunk of which a file is damaged is measured again
FOLDER/00000.parquet  Measured.columns, FOLDER/00000.{thumbs,embeddings}.npy its arrays
FOLDER/00000.ranked.npy  (N,) of those columns by which images are ranked, a field for each
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.format import header_data_from_array_1_0, open_memmap, write_array_header_1_0

from refsr.curation.extraction import Measured, crops_file
from refsr.curation.selection import RANKED
from refsr.dataset.schema import MANIFEST, REASONS, conform
from refsr.errors import RefsrError
from refsr.io import atomic
from refsr.io import files as io_files
from refsr.io.arrays import OnDisk, Rows
from refsr.io.own_files import Checksum, checksum, damaged, is_whole, read_sealed, reading, seal

FLUSH = 1024  # images that may be lost to a kill
JUDGED = ("source", "reason", "value", "detail", "dhash", "crop")  # the others wait on the disk
_ARRAYS = ("thumbs", "embeddings")
_SUFFIXES = ("parquet", "ranked.npy", "thumbs.npy", "embeddings.npy")
_STAGE = "curate --shard"  # wrote what is read of others


class _Home(NamedTuple):
    """Where an identity lies: its chunk, and its rows in it."""

    chunk: Path  # without a suffix
    rows: slice


@dataclass(frozen=True)
class Gathered:
    """What was measured of many identities, as in `Measured`, its arrays left on the disk; good until the next."""

    table: pd.DataFrame  # columns identity and JUDGED
    thumbs: Rows
    embeddings: Rows
    ranked: Rows  # a field for each of RANKED


class Store:
    """Measured identities of a folder, to which more are added, and of `others`, which are only read."""

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._homes: dict[str, _Home] = {}
        self._waiting: list[Measured] = []
        folder.mkdir(parents=True, exist_ok=True)
        for place in (*others, folder):
            for path in sorted(place.glob("[0-9]*.json")):
                bad = _damaged_files(path)
                if bad and place != folder:
                    raise damaged(bad[0], _STAGE, "its checksum is another")
                for file in [*bad, path] if bad else []:
                    atomic.remove(file)
                if not bad:
                    self._know(path.with_suffix(""), _read_members(path))
        self._chunks = 1 + max((int(path.stem) for path in folder.glob("[0-9]*.json")), default=-1)

    def __contains__(self, identity: str) -> bool:
        return identity in self._homes

    def add(self, measured: Measured) -> None:
        """Keep what was measured of one identity; it is on the disk after the next `flush` at the latest."""
        self._waiting.append(measured)
        if sum(map(len, self._waiting)) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if not self._waiting:
            return
        chunk, waiting = self.folder / f"{self._chunks:05d}", self._waiting
        columns = {name: np.concatenate([one.columns[name] for one in waiting]) for name in waiting[0].columns}
        table = pd.DataFrame(columns)
        table.to_parquet(f"{chunk}.parquet", index=False)
        np.save(f"{chunk}.ranked.npy", np.asarray(table[[*RANKED]].to_records(index=False)))
        for name in _ARRAYS:
            np.save(f"{chunk}.{name}.npy", np.concatenate([getattr(one, name) for one in waiting]))
        members = [(str(one.columns["identity"][0]), len(one)) for one in waiting]
        files: dict[str, Checksum | None] = {}
        files |= {f"{chunk.name}.{suffix}": checksum(Path(f"{chunk}.{suffix}")) for suffix in _SUFFIXES}
        files |= {crops_file(Path(), key).name: one.crops for (key, _), one in zip(members, waiting, strict=True)}
        partial = chunk.with_suffix(".partial")
        partial.write_text(json.dumps(seal({"members": members, "files": files})))
        partial.replace(chunk.with_suffix(".json"))
        self._know(chunk, members)
        self._waiting = []
        self._chunks += 1

    def crops(self, images: pd.DataFrame, side: int) -> Iterator[np.ndarray]:
        """The HR image of each of these candidates, (side, side, 3) uint8 RGB; columns identity and crop."""
        size = 3 * side**2
        rows = images[["identity", "crop"]].itertuples(index=False, name=None)
        for identity, run in groupby(rows, itemgetter(0)):
            file = str(crops_file(self._homes[identity].chunk.parent, identity))
            for data in io_files.read_each(file, ((at * size, size) for _, at in run)):
                yield np.frombuffer(data, np.uint8).reshape(side, side, 3)

    def gather(self, identities: Sequence[str]) -> Gathered:
        """These identities in this order, whoever measured them and when."""
        homes = [self._homes[identity] for identity in identities]
        rows = [home.rows for home in homes]
        names, codes = np.unique(np.asarray(identities, object), return_inverse=True)
        codes = np.repeat(codes, [part.stop - part.start for part in rows])
        return Gathered(
            self._table(homes).assign(identity=pd.Categorical.from_codes(codes, pd.Index(names))),
            self._array("thumbs", homes, rows),
            self._array("embeddings", homes, rows),
            self._array("ranked", homes, rows),
        )

    def _know(self, chunk: Path, members: Sequence[tuple[str, int]]) -> None:
        end = 0
        for identity, images in members:
            start, end = end, end + images
            self._homes[identity] = _Home(chunk, slice(start, end))

    def _table(self, homes: list[_Home]) -> pd.DataFrame:
        """The rows of all, in their order; while it is made there are two of it, and no more."""
        chunks: dict[Path, list[int]] = {}
        for at, home in enumerate(homes):
            chunks.setdefault(home.chunk, []).append(at)
        whole = pd.concat(
            [_some(chunk, [homes[at] for at in members]) for chunk, members in chunks.items()], ignore_index=True
        )
        placed = np.concatenate(list(chunks.values()))  # which identity stands where, chunk after chunk
        if (np.diff(placed) > 0).all():
            return whole
        sizes = np.array([home.rows.stop - home.rows.start for home in homes])
        starts = np.empty(len(homes), np.int64)
        starts[placed] = np.cumsum(sizes[placed]) - sizes[placed]
        order = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
        return whole.iloc[order].reset_index(drop=True)

    def complete(self, images: pd.DataFrame) -> pd.DataFrame:
        """The manifest of these rows of what was gathered; columns of it that they have are taken from them."""
        own = [name for name in MANIFEST if name in images]
        others = [name for name in MANIFEST if name not in images]
        chunks: dict[Path, list[str]] = {}
        for identity in images["identity"].unique():
            chunks.setdefault(self._homes[identity].chunk, []).append(identity)
        rest = []
        for chunk, identities in chunks.items():
            table = _read_columns(chunk, ["source", *others])
            rest.append(table[table["source"].isin(images.loc[images["identity"].isin(identities), "source"])])
        return conform(images[own].merge(pd.concat(rest), on="source", how="left", validate="1:1"), MANIFEST)

    def _array(self, name: str, homes: list[_Home], rows: list[slice]) -> OnDisk:
        """The rows of all, in their order, in a file of their own."""
        path = self.folder / f"{name}.npy"
        first = _read_array(homes[0].chunk, name)
        length = sum(part.stop - part.start for part in rows)
        header = header_data_from_array_1_0(first) | {"shape": (length, *first.shape[1:])}
        atomic.remove(path)
        with path.open("wb") as file:
            write_array_header_1_0(file, header)
            for home, part in zip(homes, rows, strict=True):
                file.write(_read_array(home.chunk, name)[part].tobytes())
        return OnDisk(path)


def _read_members(path: Path) -> list[tuple[str, int]]:
    """(identity, images) of each identity in a chunk. Raises RefsrError where the list is damaged."""
    document = read_sealed(path, _STAGE)
    with reading(path, _STAGE):
        members = [(str(identity), int(count)) for identity, count in document["members"]]
        if any(count < 0 for _, count in members):
            raise ValueError("a negative count")
        return members


def _damaged_files(path: Path) -> list[Path]:
    """The files of a chunk that are not as they were written: its list `path`, or such as it names."""
    try:
        files = dict(read_sealed(path, _STAGE)["files"])
        known = {f"{path.stem}.{suffix}" for suffix in _SUFFIXES}
        known |= {crops_file(Path(), identity).name for identity, _ in _read_members(path)}
    except (RefsrError, LookupError, TypeError, ValueError):
        return [path]
    if files.keys() != known:
        return [path]
    checked = {path.with_name(name): checksum for name, checksum in files.items() if checksum is not None}
    return [file for file, checksum in checked.items() if not is_whole(file, checksum)]


def _read_columns(chunk: Path, columns: list[str]) -> pd.DataFrame:
    path = Path(f"{chunk}.parquet")
    with reading(path, _STAGE):
        return pd.read_parquet(path, columns=columns)


def _read_array(chunk: Path, name: str) -> np.ndarray:
    path = Path(f"{chunk}.{name}.npy")
    with reading(path, _STAGE):
        return open_memmap(path, mode="r")


def _some(chunk: Path, homes: list[_Home]) -> pd.DataFrame:
    """The rows of these identities in a chunk's table, in few bytes each."""
    table = _read_columns(chunk, [*JUDGED])
    table["reason"] = pd.Categorical(table["reason"], ["", *REASONS])
    table["detail"] = pd.Series([sys.intern(detail) for detail in table["detail"]], dtype=object)
    table["crop"] = table["crop"].astype(np.int32)
    if sum(home.rows.stop - home.rows.start for home in homes) == len(table) and homes == sorted(homes):
        return table
    return pd.concat([table.iloc[home.rows] for home in homes])
