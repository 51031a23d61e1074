"""What an archive holds, read once: an index of its members and, of a tar.gz, the bytes that are wanted.

FOLDER/               its name is made from the archive's place in the raw set, see `folder_name`
  archive.json    the archive this is of (its size, a hash of its two ends), and a checksum of each file below;
                  written last, it vouches for all
  index.parquet   a row per member; columns in COLUMNS
  00000.bin ...   bytes of the members of a tar.gz that are kept, one after another, some SHARD bytes to a file
"""

import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from refsr.errors import RefsrError
from refsr.io import atomic, marker, tar
from refsr.io import files as io_files
from refsr.io.atomic import write_file
from refsr.io.files import Extent
from refsr.io.own_files import Checksum, checksum, damaged, is_whole, read_sealed, read_table, seal
from refsr.progress import Progress

SHARD = 2**30
COLUMNS = {
    "name": "str",
    "size": "int64",
    "is_folder": "bool",
    "fault": "str",
    "detail": "str",
    "shard": "int32",  # -1: not kept here
    "start": "int64",  # of its bytes, in the shard or in the tar
}
_CHECKS = {
    "int64": pd.api.types.is_integer_dtype,
    "int32": pd.api.types.is_integer_dtype,
    "bool": pd.api.types.is_bool_dtype,
}
_STAMP = ("bytes", "ends_sha256")
_PART = "curate --shard"  # the command that writes what is only read
_BATCH = 2**12  # rows that are Python objects at a time
_PIECE = 2**20  # bytes
_END = 2**16  # bytes of each end of an archive that are hashed

Row = tuple[str, int, bool, str, str, int, int]
Wanted = Callable[[str, int], bool]  # name and size of a member -> whether its bytes are kept


def is_packed(place: str) -> bool:
    """Whether it is a compressed tar, whose members cannot be read where they lie."""
    return place.lower().endswith((".tar.gz", ".tgz"))


def folder_name(uri: str, place: str) -> str:
    """The name of the folder that holds the archive at `place` of the raw set at `uri`.

    It is made from the whole place within the set, so archives of one name in two folders have two. It does not depend
    on where the set lies: a copy of the set elsewhere has the same.
    """
    inside = place.removeprefix(f"{uri}/") if place != uri else place.rpartition("/")[2]
    return hashlib.sha256(os.fsencode(inside)).hexdigest()[:24]


def stamp(place: str) -> dict[str, int | str]:
    """What tells an archive from another and survives its being copied: its size and a hash of its two ends."""
    size = io_files.size_of(place)
    ends = [io_files.read(Extent(place, start, min(_END, size))) for start in (0, max(0, size - _END))]
    return {"bytes": size, "ends_sha256": hashlib.sha256(b"".join(ends)).hexdigest()}


def is_of(place: str, folder: Path) -> bool:
    """Whether `folder` holds the index of this very archive."""
    known = _vouched(folder)
    return known is not None and {key: known.get(key) for key in _STAMP} == stamp(place)


def fill(place: str, folder: Path, wanted: Wanted) -> None:
    """Read the archive at `place` into `folder`, unless it was before, and no file of it is damaged since."""
    if is_of(place, folder) and _is_whole(folder):
        return
    atomic.remove(folder)
    folder.mkdir(parents=True)
    checksums: dict[str, Checksum] = {}
    table = frame(_members(place, folder, wanted, checksums))
    save(table, folder, stamp(place), checksums)


def read_index(folder: Path) -> pd.DataFrame:
    """The index in a folder. Raises RefsrError where it is damaged."""
    needed = {name: _CHECKS.get(kind, pd.api.types.is_string_dtype) for name, kind in COLUMNS.items()}
    return read_table(folder / "index.parquet", needed, "curate")


def save(
    table: pd.DataFrame, folder: Path, archive: Mapping[str, int | str], checksums: Mapping[str, Checksum]
) -> None:
    """Write an index, and last what vouches for it and the shards."""
    index, vouching = folder / "index.parquet", folder / "archive.json"
    table.to_parquet(index, index=False)
    document = {**archive, "files": {**checksums, index.name: checksum(index)}}
    write_file(vouching, lambda partial: partial.write_text(json.dumps(seal(document)), encoding="utf-8"))


def _vouched(folder: Path) -> dict[str, Any] | None:
    """What archive.json says; None where it is missing or damaged."""
    try:
        return read_sealed(folder / "archive.json", "curate")
    except RefsrError:
        return None


def require_whole(place: str, folder: Path) -> None:
    """Check what a part of a curation holds of the archive at `place`.

    Raises:
        RefsrError: It is of another archive, or damaged.
    """
    if (known := _vouched(folder)) is None:
        raise damaged(folder / "archive.json", _PART, "nothing vouches for the files beside it")
    if not is_of(place, folder):
        raise RefsrError(f"{folder}: not of {place}, but of another archive of this name; measure that part again")
    for name, value in known.get("files", {}).items():
        if not is_whole(folder / name, value):
            raise damaged(folder / name, _PART, "its checksum is another")


def _is_whole(folder: Path) -> bool:
    """Whether all files are there as they were written."""
    files = (_vouched(folder) or {}).get("files", {})
    return "index.parquet" in files and all(is_whole(folder / name, value) for name, value in files.items())


def names_only(place: str) -> pd.DataFrame:
    """The index of an archive of which no byte is kept."""
    return frame(_members(place, None, lambda name, size: False))


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table, made in batches, so that no Python object stays of each."""
    rows = iter(rows)
    batches = [pd.DataFrame([], columns=[*COLUMNS]).astype(COLUMNS)]
    while batch := list(islice(rows, _BATCH)):
        batches.append(pd.DataFrame(batch, columns=[*COLUMNS]).astype(COLUMNS))
    return pd.concat(batches, ignore_index=True)


def shard_path(folder: Path, shard: int) -> str:
    """The file of this number."""
    return str(folder / f"{shard:05d}.bin")


def slim(folder: Path, kept: Callable[[str], bool]) -> None:
    """Of the bytes in `folder` keep those of the members whose names are `kept`; the index tells of all, as before."""
    table, slimmer = read_index(folder), folder.with_name(folder.name + ".slim")
    shutil.rmtree(slimmer, ignore_errors=True)
    slimmer.mkdir()
    rows = np.flatnonzero((table["shard"] >= 0) & table["name"].map(kept).astype(bool))
    checksums: dict[str, Checksum] = {}
    with Shards(slimmer, checksums) as shards:
        moved = [
            shards.append(_pieces(io_files.open_extent(Extent(shard_path(folder, shard), start, size)), size))
            for shard, start, size in table.loc[rows, ["shard", "start", "size"]].itertuples(index=False)
        ]
    shard, start = np.full(len(table), -1), np.zeros(len(table), np.int64)
    shard[rows], start[rows] = np.array(moved, np.int64).reshape(-1, 2).T
    archive = {key: (_vouched(folder) or {}).get(key, "") for key in _STAMP}
    save(table.assign(shard=shard, start=start).astype(COLUMNS), slimmer, archive, checksums)
    shutil.rmtree(folder)
    slimmer.rename(folder)


def _members(
    place: str, folder: Path | None, wanted: Wanted, checksums: dict[str, Checksum] | None = None
) -> Iterator[Row]:
    length = io_files.size_of(place)
    with ExitStack() as stack:
        file = stack.enter_context(io_files.open_extent(Extent(place, 0, length)))
        bar = stack.enter_context(Progress(total=length, desc=f"read {Path(place).name}", unit="B"))
        if not is_packed(place):
            for member in tar.walk(file, place, length):
                if marker.is_marker(member.name):
                    continue
                yield (member.name, member.size, member.is_folder, member.fault, member.detail, -1, member.start)
                bar.update(member.start + member.size - bar.done)
            return
        stream = tar.Gunzip(file, place)
        shards = stack.enter_context(Shards(folder, {} if checksums is None else checksums)) if folder else None
        for member in tar.walk(stream, place):
            if marker.is_marker(member.name):
                continue
            kept = shards and not member.is_folder and not member.fault and wanted(member.name, member.size)
            shard, start = shards.append(_pieces(stream, member.size)) if shards and kept else (-1, 0)
            yield (member.name, member.size, member.is_folder, member.fault, member.detail, shard, start)
            bar.update(file.tell() - bar.done)
        while stream.read(2**20):  # on to the checksum
            pass


def _pieces(file: io.BufferedIOBase, size: int) -> Iterator[bytes]:
    """The next `size` bytes, a little at a time: what a header claims is not set aside in memory."""
    while size and (data := file.read(min(_PIECE, size))):
        size -= len(data)
        yield data


class Shards:
    """Plain files in a folder that are appended to, one after another; `checksums` is kept up with them."""

    def __init__(self, folder: Path, checksums: dict[str, Checksum]) -> None:
        self._checksums = checksums
        self._folder, self._number, self._at = folder, -1, SHARD
        self._files = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def append(self, pieces: Iterable[bytes]) -> tuple[int, int]:
        """The shard the bytes went to and where in it they start."""
        if self._at >= SHARD:
            self._files.close()
            self._number, self._at = self._number + 1, 0
            path = Path(shard_path(self._folder, self._number))
            self._file = self._files.enter_context(path.open("wb"))
        start = self._at
        name = Path(shard_path(self._folder, self._number)).name
        code = self._checksums.get(name, [0, 0])[1]
        for data in pieces:
            self._at += self._file.write(data)
            code = zlib.crc32(data, code)
        self._checksums[name] = [self._at, code]
        return self._number, start
