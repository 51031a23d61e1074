"""What an archive holds, read once: an index of its members and, of a tar.gz, the bytes that are wanted.

FOLDER/               its name is made from the archive's place in the raw set, see `folder_name`
  archive.json    the archive this is of: its size and a hash of its two ends
  index.parquet   a row per member; columns in COLUMNS
  00000.bin ...   bytes of the members of a tar.gz that are kept, one after another, some SHARD bytes to a file
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from refsr.io import files, marker, tar
from refsr.io.files import Extent
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
    size = files.size_of(place)
    ends = [files.read(Extent(place, start, min(_END, size))) for start in (0, max(0, size - _END))]
    return {"bytes": size, "ends_sha256": hashlib.sha256(b"".join(ends)).hexdigest()}


def is_of(place: str, folder: Path) -> bool:
    """Whether `folder` holds the index of this very archive."""
    try:
        return bool(json.loads((folder / "archive.json").read_text()) == stamp(place))
    except (OSError, ValueError):
        return False


def fill(place: str, folder: Path, wanted: Wanted) -> None:
    """Read the archive at `place` into `folder`, unless it was before; the index, written last, vouches for all."""
    index = folder / "index.parquet"
    if not (index.is_file() and is_of(place, folder)):
        folder.mkdir(parents=True, exist_ok=True)
        index.unlink(missing_ok=True)
        (folder / "archive.json").write_text(json.dumps(stamp(place)))
        save(frame(_members(place, folder, wanted)), folder)


def save(table: pd.DataFrame, folder: Path) -> None:
    """Write an index, whole or not at all."""
    table.to_parquet(folder / "index.partial", index=False)
    (folder / "index.partial").replace(folder / "index.parquet")


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
    table, slimmer = pd.read_parquet(folder / "index.parquet"), folder.with_name(folder.name + ".slim")
    shutil.rmtree(slimmer, ignore_errors=True)
    slimmer.mkdir()
    rows = np.flatnonzero((table["shard"] >= 0) & table["name"].map(kept).astype(bool))
    with Shards(slimmer) as shards:
        moved = [
            shards.append(_pieces(files.open_extent(Extent(shard_path(folder, shard), start, size)), size))
            for shard, start, size in table.loc[rows, ["shard", "start", "size"]].itertuples(index=False)
        ]
    shard, start = np.full(len(table), -1), np.zeros(len(table), np.int64)
    shard[rows], start[rows] = np.array(moved, np.int64).reshape(-1, 2).T
    (slimmer / "archive.json").write_bytes((folder / "archive.json").read_bytes())
    save(table.assign(shard=shard, start=start).astype(COLUMNS), slimmer)
    shutil.rmtree(folder)
    slimmer.rename(folder)


def _members(place: str, folder: Path | None, wanted: Wanted) -> Iterator[Row]:
    length = files.size_of(place)
    with ExitStack() as stack:
        file = stack.enter_context(files.open_extent(Extent(place, 0, length)))
        bar = stack.enter_context(Progress(total=length, desc=f"read {Path(place).name}", unit="B"))
        if not is_packed(place):
            for member in tar.walk(file, place, length):
                if marker.is_marker(member.name):
                    continue
                yield (member.name, member.size, member.is_folder, member.fault, member.detail, -1, member.start)
                bar.update(member.start + member.size - bar.done)
            return
        stream = tar.Gunzip(file, place)
        shards = stack.enter_context(Shards(folder)) if folder else None
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
    """Plain files in a folder that are appended to, one after another."""

    def __init__(self, folder: Path) -> None:
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
        for data in pieces:
            self._at += self._file.write(data)
        return self._number, start
