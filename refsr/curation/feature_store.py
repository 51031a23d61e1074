"""Features on disk: identities are added, found again by a later run, and read in pieces.

FOLDER/n000001.crops  pixels of the identity's crops; see extraction.crops_file
FOLDER/00000.json     members: [identity, images] of each identity in this chunk; files: the
                      checksum of each file; written last. A chunk with a damaged file is
                      extracted again
FOLDER/00000.parquet  IdentityFeatures.columns; 00000.{thumbs,embeddings}.npy: its arrays
FOLDER/00000.ranked.npy  (N,) of the columns by which images are ranked, a field for each
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
from numpy.lib.format import (
    header_data_from_array_1_0,
    open_memmap,
    write_array_header_1_0,
)

from refsr.curation.extraction import IdentityFeatures, crops_file
from refsr.curation.selection import RANKED
from refsr.dataset.schema import MANIFEST, REASONS, conform
from refsr.errors import RefsrError
from refsr.io import atomic
from refsr.io import files as io_files
from refsr.io.arrays import OnDisk, Rows
from refsr.io.own_files import (
    Checksum,
    checksum,
    damaged,
    is_whole,
    read_parquet,
    read_sealed,
    reading,
    seal,
    write_parquet,
)

FLUSH = 1024  # images whose features a kill may lose
# Columns in memory during filtering; the others stay on the disk.
FILTERED = ("source", "reason", "value", "detail", "dhash", "crop")
_ARRAYS = ("thumbs", "embeddings")
_SUFFIXES = ("parquet", "ranked.npy", "thumbs.npy", "embeddings.npy")
_STAGE = "curate --shard"  # the command that wrote the parts of others


class _Location(NamedTuple):
    """Where an identity is stored: its chunk, a path without suffix, and its rows there."""

    chunk: Path
    rows: slice

    @property
    def images(self) -> int:
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True)
class Features:
    """Features of many identities, arrays left on disk; valid until the next `Store.gather`."""

    table: pd.DataFrame  # columns identity and FILTERED
    thumbs: Rows  # those of ImageFeatures
    embeddings: Rows  # (N, D) float32
    ranked: Rows  # (N,), a field for each of RANKED

    @property
    def are_detected(self) -> bool:
        """Whether faces were detected, since the raw set has no boxes."""
        return bool(self.thumbs[:1].ndim == 4)


class Store:
    """Features of identities in `folder`, to which more are added, and in `others`, read only."""

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        """Raises RefsrError where a file of `others` is damaged; chunks of `folder` are deleted."""
        self.folder = folder
        self._locations: dict[str, _Location] = {}
        self._waiting: list[IdentityFeatures] = []
        folder.mkdir(parents=True, exist_ok=True)
        for place in (*others, folder):
            for path in sorted(place.glob("[0-9]*.json")):
                self._load(path)
        numbers = (int(path.stem) for path in folder.glob("[0-9]*.json"))
        self._chunks = 1 + max(numbers, default=-1)

    def _load(self, path: Path) -> None:
        """Add the identities of a chunk; a damaged chunk is an error, or deleted if it is ours."""
        bad = _damaged_files(path)
        if not bad:
            self._locate(path.with_suffix(""), _read_members(path))
            return
        if path.parent != self.folder:
            raise damaged(bad[0], _STAGE, "its checksum is another")
        for file in [*bad, path]:
            atomic.remove(file)

    def __contains__(self, identity: str) -> bool:
        return identity in self._locations

    def add(self, features: IdentityFeatures) -> None:
        """Keep the features of an identity; they are on the disk after the next `flush`."""
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write the features that were added."""
        if not self._waiting:
            return
        chunk, waiting = self.folder / f"{self._chunks:05d}", self._waiting
        _write_arrays(chunk, waiting)
        members = [(str(one.columns["identity"][0]), len(one)) for one in waiting]
        files: dict[str, Checksum | None] = {}
        for suffix in _SUFFIXES:
            files[f"{chunk.name}.{suffix}"] = checksum(Path(f"{chunk}.{suffix}"))
        for (identity, _), one in zip(members, waiting, strict=True):
            files[crops_file(Path(), identity).name] = one.crops
        partial = chunk.with_suffix(".partial")
        partial.write_text(json.dumps(seal({"members": members, "files": files})))
        partial.replace(chunk.with_suffix(".json"))
        self._locate(chunk, members)
        self._waiting = []
        self._chunks += 1

    def crops(self, images: pd.DataFrame, side: int) -> Iterator[np.ndarray]:
        """The crop of each candidate, (side, side, 3) uint8 RGB.

        `images` has the columns identity and crop.
        """
        size = 3 * side**2
        rows = images[["identity", "crop"]].itertuples(index=False, name=None)
        for identity, run in groupby(rows, itemgetter(0)):
            file = str(crops_file(self._locations[identity].chunk.parent, identity))
            for data in io_files.read_each(file, ((at * size, size) for _, at in run)):
                yield np.frombuffer(data, np.uint8).reshape(side, side, 3)

    def gather(self, identities: Sequence[str]) -> Features:
        """The features of these identities, in this order. Raises RefsrError for damaged files."""
        places = [self._locations[identity] for identity in identities]
        names, codes = np.unique(np.asarray(identities, object), return_inverse=True)
        codes = np.repeat(codes, [place.images for place in places])
        column = pd.Categorical.from_codes(codes, pd.Index(names))
        return Features(
            _table(places).assign(identity=column),
            self._array("thumbs", places),
            self._array("embeddings", places),
            self._array("ranked", places),
        )

    def complete(self, images: pd.DataFrame) -> pd.DataFrame:
        """The manifest of these images; columns it has in `images` are taken from there."""
        own = [name for name in MANIFEST if name in images]
        others = [name for name in MANIFEST if name not in images]
        chunks: dict[Path, list[str]] = {}
        for identity in images["identity"].unique():
            chunks.setdefault(self._locations[identity].chunk, []).append(identity)
        rest = []
        for chunk, identities in chunks.items():
            table = _read_columns(chunk, ["source", *others])
            sources = images.loc[images["identity"].isin(identities), "source"]
            rest.append(table[table["source"].isin(sources)])
        whole = images[own].merge(pd.concat(rest), on="source", how="left", validate="1:1")
        return conform(whole, MANIFEST)

    def _locate(self, chunk: Path, members: Sequence[tuple[str, int]]) -> None:
        end = 0
        for identity, images in members:
            start, end = end, end + images
            self._locations[identity] = _Location(chunk, slice(start, end))

    def _array(self, name: str, places: list[_Location]) -> OnDisk:
        """The rows of all identities, in order, in a file of their own."""
        path = self.folder / f"{name}.npy"
        first = _read_array(places[0].chunk, name)
        shape = (sum(place.images for place in places), *first.shape[1:])
        header = header_data_from_array_1_0(first) | {"shape": shape}
        atomic.remove(path)
        with path.open("wb") as file:
            write_array_header_1_0(file, header)
            for place in places:
                file.write(_read_array(place.chunk, name)[place.rows].tobytes())
        return OnDisk(path)


def _write_arrays(chunk: Path, waiting: list[IdentityFeatures]) -> None:
    """Write the table and the arrays of a chunk."""
    columns = {}
    for name in waiting[0].columns:
        columns[name] = np.concatenate([one.columns[name] for one in waiting])
    table = pd.DataFrame(columns)
    write_parquet(table, Path(f"{chunk}.parquet"))
    np.save(f"{chunk}.ranked.npy", np.asarray(table[[*RANKED]].to_records(index=False)))
    for name in _ARRAYS:
        np.save(f"{chunk}.{name}.npy", np.concatenate([getattr(one, name) for one in waiting]))


def _table(places: list[_Location]) -> pd.DataFrame:
    """The rows of all identities, in order; at most two copies are in memory meanwhile."""
    chunks: dict[Path, list[int]] = {}
    for at, place in enumerate(places):
        chunks.setdefault(place.chunk, []).append(at)
    parts = [_read_rows(chunk, [places[at] for at in group]) for chunk, group in chunks.items()]
    whole = pd.concat(parts, ignore_index=True)
    del parts
    stored = np.concatenate(list(chunks.values()))  # positions of identities, chunk by chunk
    if (np.diff(stored) > 0).all():
        return whole
    sizes = np.array([place.images for place in places])
    starts = np.empty(len(places), np.int64)
    starts[stored] = np.cumsum(sizes[stored]) - sizes[stored]
    spans = zip(starts, sizes, strict=True)
    order = np.concatenate([np.arange(start, start + size) for start, size in spans])
    return whole.iloc[order].reset_index(drop=True)


def _read_members(path: Path) -> list[tuple[str, int]]:
    """(identity, images) of each identity in a chunk. Raises RefsrError where it is damaged."""
    document = read_sealed(path, _STAGE)
    with reading(path, _STAGE):
        members = [(str(identity), int(count)) for identity, count in document["members"]]
        if any(count < 0 for _, count in members):
            raise ValueError("a negative count")
        return members


def _damaged_files(path: Path) -> list[Path]:
    """The damaged files of a chunk; `path`, its list, itself if that is damaged."""
    try:
        files = dict(read_sealed(path, _STAGE)["files"])
        expected = {f"{path.stem}.{suffix}" for suffix in _SUFFIXES}
        expected |= {crops_file(Path(), identity).name for identity, _ in _read_members(path)}
    except (RefsrError, LookupError, TypeError, ValueError):
        return [path]
    if files.keys() != expected:
        return [path]
    checked = {path.with_name(name): known for name, known in files.items() if known is not None}
    return [file for file, known in checked.items() if not is_whole(file, known)]


def _read_columns(chunk: Path, columns: list[str]) -> pd.DataFrame:
    path = Path(f"{chunk}.parquet")
    with reading(path, _STAGE):
        return read_parquet(path, columns)


def _read_array(chunk: Path, name: str) -> np.ndarray:
    path = Path(f"{chunk}.{name}.npy")
    with reading(path, _STAGE):
        return open_memmap(path, mode="r")


def _read_rows(chunk: Path, places: list[_Location]) -> pd.DataFrame:
    """The rows of these identities in a chunk's table, in few bytes each."""
    table = _read_columns(chunk, [*FILTERED])
    table["reason"] = pd.Categorical(table["reason"], ["", *REASONS])
    details = [sys.intern(detail) for detail in table["detail"]]
    table["detail"] = pd.Series(details, dtype=object)
    table["crop"] = table["crop"].astype(np.int32)
    if sum(place.images for place in places) == len(table) and places == sorted(places):
        return table
    return pd.concat([table.iloc[place.rows] for place in places])
