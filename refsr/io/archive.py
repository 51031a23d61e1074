"""The index of an archive and, of a tar.gz, the bytes of selected members; each is read once.

FOLDER/             its name comes from the archive's place in the raw set, see `folder_name`
  archive.json      size and hash of both ends of the archive, and a checksum of each file below;
                    written last: without it the files do not count
  index.parquet     a row per member; columns in COLUMNS
  00000.bin ...     bytes of the selected members of a tar.gz, one after another, some SHARD bytes
                    to a file
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refsr.errors import RefsrError
from refsr.io import archive_shards, atomic, marker, tar
from refsr.io import files as io_files
from refsr.io.atomic import write_file
from refsr.io.checksum_cache import cached
from refsr.io.files import Extent
from refsr.io.own_files import (
    Checksum,
    checksum,
    damaged,
    is_whole,
    read_sealed,
    read_table,
    seal,
    write_parquet,
)
from refsr.progress import Progress

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
_PART = "curate --shard"  # the command that wrote folders that are only read
_ROWS = 2**12  # rows that are Python objects at a time
_END = 2**16  # bytes of each end of an archive that are hashed

Row = tuple[str, int, bool, str, str, int, int]
Selection = Callable[[str, int], bool]  # name and size of a member -> whether to keep its bytes


def is_packed(place: str) -> bool:
    """Whether the archive is a compressed tar, whose members cannot be read in place."""
    return place.lower().endswith((".tar.gz", ".tgz"))


def folder_name(uri: str, place: str) -> str:
    """The name of the folder for the archive at `place` of the raw set at `uri`.

    It is a hash of the place within the set: archives of one name in two folders differ, and a
    copy of the set elsewhere has the same names.
    """
    inside = place.removeprefix(f"{uri}/") if place != uri else place.rpartition("/")[2]
    return hashlib.sha256(os.fsencode(inside)).hexdigest()[:24]


def stamp(place: str) -> dict[str, int | str]:
    """The identity of an archive, the same for a copy: its size and a hash of its two ends."""
    size = io_files.size_of(place)
    digest = hashlib.sha256()
    for start in (0, max(0, size - _END)):
        digest.update(io_files.read(Extent(place, start, min(_END, size))))
    return {"bytes": size, "ends_sha256": digest.hexdigest()}


def is_of(place: str, folder: Path) -> bool:
    """Whether `folder` holds the index of this very archive."""
    known = _document(folder)
    return known is not None and {key: known.get(key) for key in _STAMP} == stamp(place)


def fill(place: str, folder: Path, selection: Selection) -> None:
    """Read the archive at `place` into `folder`, unless it holds that archive undamaged.

    Raises:
        RefsrError: The archive cannot be read, or is cut or damaged.
    """
    if is_of(place, folder) and _is_whole(folder):
        return
    atomic.remove(folder)
    folder.mkdir(parents=True)
    checksums: dict[str, Checksum] = {}
    table = frame(_members(place, folder, selection, checksums))
    save(table, folder, stamp(place), checksums)


def read_index(folder: Path) -> pd.DataFrame:
    """The index in a folder. Raises RefsrError where it is damaged."""
    is_text = pd.api.types.is_string_dtype
    needed = {name: _CHECKS.get(kind, is_text) for name, kind in COLUMNS.items()}
    return read_table(folder / "index.parquet", needed, "curate")


def save(
    table: pd.DataFrame,
    folder: Path,
    archive: Mapping[str, int | str],
    checksums: Mapping[str, Checksum],
) -> None:
    """Write an index, and last archive.json.

    Args:
        table: The index.
        folder: Its folder.
        archive: The `stamp` of the archive.
        checksums: Of the shards.
    """
    index, path = folder / "index.parquet", folder / "archive.json"
    write_parquet(table, index)
    document = seal({**archive, "files": {**checksums, index.name: checksum(index)}})
    write_file(path, lambda partial: partial.write_text(json.dumps(document), encoding="utf-8"))


def _document(folder: Path) -> dict[str, Any] | None:
    """The content of archive.json; None where it is missing or damaged."""
    try:
        return read_sealed(folder / "archive.json", "curate")
    except RefsrError:
        return None


def require_whole(place: str, folder: Path) -> None:
    """Check the folder that a part of a curation has of the archive at `place`.

    Raises:
        RefsrError: It is of another archive, or damaged.
    """
    if (known := _document(folder)) is None:
        raise damaged(folder / "archive.json", _PART, "it must list the files beside it")
    if not is_of(place, folder):
        what = f"not of {place}, but of another archive of this name"
        raise RefsrError(f"{folder}: {what}; run `{_PART}` of that part again")
    for name in _damaged_files(folder, known.get("files", {})):
        raise damaged(folder / name, _PART, "its checksum is another")


def _is_whole(folder: Path) -> bool:
    """Whether all files have their checksums."""
    files = (_document(folder) or {}).get("files", {})
    return "index.parquet" in files and not any(_damaged_files(folder, files))


def _damaged_files(folder: Path, files: Mapping[str, Checksum]) -> Iterator[str]:
    with cached(checksum, folder) as digest:
        for name, value in files.items():
            if not is_whole(folder / name, value, digest):
                yield name


def names_only(place: str) -> pd.DataFrame:
    """The index of an archive, without keeping any bytes."""
    return frame(_members(place, None, lambda name, size: False))


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table, built in batches so that few Python objects exist at a time."""
    rows = iter(rows)
    batches = [_batch([])]
    while batch := list(islice(rows, _ROWS)):
        batches.append(_batch(batch))
    return pd.concat(batches, ignore_index=True)


def _batch(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS)


def slim(folder: Path, kept: Callable[[str], bool]) -> None:
    """Keep only the bytes of members whose names are `kept`; the index still lists all."""
    table, slimmer = read_index(folder), folder.with_name(folder.name + ".slim")
    shutil.rmtree(slimmer, ignore_errors=True)
    slimmer.mkdir()
    is_kept = (table["shard"] >= 0) & table["name"].map(kept).astype(bool)
    rows = np.flatnonzero(is_kept)
    checksums: dict[str, Checksum] = {}
    moved = []
    with archive_shards.Shards(slimmer, checksums) as shards:
        spans = table.loc[rows, ["shard", "start", "size"]].itertuples(index=False)
        for number, begin, size in spans:
            extent = Extent(archive_shards.shard_path(folder, number), begin, size)
            moved.append(shards.append(archive_shards.pieces(io_files.open_extent(extent), size)))
    shard, start = np.full(len(table), -1), np.zeros(len(table), np.int64)
    shard[rows], start[rows] = np.array(moved, np.int64).reshape(-1, 2).T
    archive = {key: (_document(folder) or {}).get(key, "") for key in _STAMP}
    table = table.assign(shard=shard, start=start).astype(COLUMNS)
    save(table, slimmer, archive, checksums)
    shutil.rmtree(folder)
    slimmer.rename(folder)


def _members(
    place: str,
    folder: Path | None,
    selection: Selection,
    checksums: dict[str, Checksum] | None = None,
) -> Iterator[Row]:
    """Rows of the index; selected members of a tar.gz are written into `folder`."""
    length = io_files.size_of(place)
    title = f"read {Path(place).name}"
    with ExitStack() as stack:
        file = stack.enter_context(io_files.open_extent(Extent(place, 0, length)))
        bar = stack.enter_context(Progress(total=length, desc=title, unit="B"))
        if not is_packed(place):
            for member in _unmarked(tar.walk(file, place, length)):
                yield _row(member, -1, member.start)
                bar.update(member.start + member.size - bar.done)
            return
        stream = tar.Gunzip(file, place)
        known = {} if checksums is None else checksums
        shards = stack.enter_context(archive_shards.Shards(folder, known)) if folder else None
        for member in _unmarked(tar.walk(stream, place)):
            shard, start = -1, 0
            if shards and _is_selected(member, selection):
                shard, start = shards.append(archive_shards.pieces(stream, member.size))
            yield _row(member, shard, start)
            bar.update(file.tell() - bar.done)
        while stream.read(archive_shards.PIECE):  # to the checksum at the end
            pass


def _unmarked(members: Iterable[tar.Member]) -> Iterator[tar.Member]:
    return (member for member in members if not marker.is_marker(member.name))


def _is_selected(member: tar.Member, selection: Selection) -> bool:
    if member.is_folder or member.fault:
        return False
    return selection(member.name, member.size)


def _row(member: tar.Member, shard: int, start: int) -> Row:
    name, _, size, is_folder, fault, detail = member
    return name, size, is_folder, fault, detail, shard, start
