"""Where raw images come from: a folder, a tar, a tar.gz, or a folder that holds some of these, local or on S3.

All are a table of files and, for each, the extent of bytes to read; who measures need not know which it was. Members
of an archive in a folder are named as if it were unpacked beside it: `vggface2_train.tar.gz` -> `vggface2_train/...`.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from refsr.errors import RefsrError
from refsr.io import archive as io_archive
from refsr.io import files as io_files
from refsr.io import marker
from refsr.io.archive import Row, Selection
from refsr.io.arrays import blocks
from refsr.io.files import Extent
from refsr.io.tar import MAX_FILE

ARCHIVES = (".tar", ".tar.gz", ".tgz")
_DEPTH = 5  # folders: vggface2/vggface2_train/train/n000002, and one more
_WHOLE = -1  # `start` of a file that is no part of another


class Source:
    """A raw set opened for reading.

    files: name (relative to the set, as VGGFace2 lays it out), size, place and start of its bytes; those of a tar.gz
        that were not kept have no place.
    refused: name, reason, value and detail of what it holds that is never read.
    folders: names of its folders, for those that are empty.
    archives: the place of each archive in it -> the prefix of its members' names.
    """

    def __init__(self, uri: str, entries: pd.DataFrame, archives: dict[str, str]) -> None:
        self.uri, self.archives = uri, archives
        self.folders = entries.loc[entries["is_folder"], "name"].tolist()
        files = np.flatnonzero(~entries["is_folder"])
        faulty = (entries["fault"] != "").to_numpy()[files]
        again = _repeated(entries["name"].iloc[files]) & ~faulty
        refused = entries.iloc[files[faulty | again]].rename(columns={"fault": "reason", "size": "value"})
        refused.loc[refused["reason"] == "", ["reason", "detail"]] = "duplicate_name", "an earlier member has this name"
        self.refused = refused[["name", "reason", "value", "detail"]]
        self.files = entries[["name", "size", "place", "start"]].iloc[files[~(faulty | again)]].reset_index(drop=True)

    @property
    def signature(self) -> str:
        """A hash of the names and sizes of all files, the same wherever the set lies."""
        digest = hashlib.sha256()
        for part in blocks(len(self.files)):
            rows = pd.util.hash_pandas_object(self.files[["name", "size"]].iloc[part], index=False)
            digest.update(rows.to_numpy().tobytes())
        return digest.hexdigest()

    def extents(self, rows: np.ndarray) -> list[Extent]:
        """Where the bytes of these rows of `files` are. Raises RefsrError where they were not kept."""
        chosen = self.files.iloc[rows]
        lost = chosen.loc[chosen["place"] == "", "name"]
        if len(lost):
            raise RefsrError(
                f"{self.uri}: {lost.iloc[0]} cannot be read: of a tar.gz only what was asked for is kept; unpack "
                "it, or name the .tar"
            )
        return [
            Extent(f"{place}/{name}", 0, size) if start == _WHOLE else Extent(place, start, size)
            for name, size, place, start in chosen.itertuples(index=False)
        ]

    def keep(self, rows: np.ndarray, work: Path) -> None:
        """Have the bytes of these rows of `files` at hand: what was not kept of a tar.gz is read from it again."""
        lost = set(self.files["name"].iloc[rows[(self.files["place"].iloc[rows] == "").to_numpy()]])
        if not lost:
            return
        places = self.files["place"].astype("str")
        for archive, prefix in self.archives.items():
            digest = hashlib.sha256("\n".join(sorted(lost)).encode()).hexdigest()
            folder = work / f"{io_archive.folder_name(self.uri, archive)}-{digest[:12]}"
            io_archive.fill(archive, folder, lambda name, size, prefix=prefix: prefix + name in lost)  # type: ignore[misc]
            index = io_archive.read_index(folder)
            index = index[index["shard"] >= 0].drop_duplicates("name")
            found = pd.Index(prefix + index["name"]).get_indexer(pd.Index(self.files["name"]))
            taken = (found >= 0) & (places == "").to_numpy()
            shards = index["shard"].to_numpy()[found[taken]]
            places[taken] = np.array([io_archive.shard_path(folder, int(shard)) for shard in shards], object)
            self.files.loc[taken, "start"] = index["start"].to_numpy()[found[taken]]
        self.files["place"] = places.astype("category")

    def read(self, row: int) -> bytes:
        """The bytes of one file. Raises RefsrError where it has more than an image can have."""
        (extent,) = self.extents(np.array([row]))
        if extent.length > MAX_FILE:
            name = self.files["name"].iloc[row]
            raise RefsrError(f"{self.uri}/{name}: {extent.length} bytes; more than {MAX_FILE} are not read at once")
        return io_files.read(extent)


def is_archive(place: str) -> bool:
    """Whether its name is that of a tar."""
    return place.lower().endswith(ARCHIVES)


def stem(name: str) -> str:
    """An archive's name without its suffix; any other as it is."""
    return next((name[: -len(suffix)] for suffix in ARCHIVES if name.lower().endswith(suffix)), name)


def open_source(
    raw: str | Path, work: Path | None = None, selection: Selection = lambda name, size: True, known: Sequence[Path] = ()
) -> Source:
    """The raw set at a path or URI.

    Indexes of archives, and of a tar.gz the files that are `selection`, are kept in `work`, or not at all without it;
    folders in `known` may hold them already. Raises RefsrError where there is nothing, or it cannot be read.
    """
    uri = str(raw).rstrip("/")
    if is_archive(uri):
        return Source(uri, _archive(uri, uri, "", work, selection, known), {uri: ""})
    files = io_archive.frame(_remote_files(uri) if io_files.is_remote(uri) else _local_files(uri))
    files["place"], files["start"] = pd.Categorical.from_codes(np.zeros(len(files), np.int8), pd.Index([uri])), _WHOLE
    packed = files["name"].str.lower().str.endswith(ARCHIVES) & ~files["is_folder"]
    archives = {f"{uri}/{name}": stem(name) + "/" for name in files.loc[packed, "name"]}
    inside = [_archive(uri, place, prefix, work, selection, known) for place, prefix in archives.items()]
    return Source(uri, _joined([files[~packed], *inside]), archives)


def check(raw: str | Path) -> None:
    """Raises RefsrError, at once, where there is no such raw set or it may not be read."""
    uri = str(raw).rstrip("/")
    if not io_files.is_remote(uri) and not Path(uri).exists():
        raise RefsrError(f"{uri}: no such file or folder")
    if is_archive(uri):
        io_files.size_of(uri)
    elif io_files.is_remote(uri):
        next(_remote_files(uri))
    elif not Path(uri).is_dir():
        raise RefsrError(f"{uri}: neither a folder nor an archive ({', '.join(ARCHIVES)})")


def fingerprint(raw: str | Path) -> str:
    """A hash that changes with the set: names, sizes and times of local files, names, sizes and ETags on S3."""
    uri = str(raw).rstrip("/")
    digest = hashlib.sha256()
    for fact in _facts(uri):
        digest.update(repr(fact).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _facts(uri: str) -> Iterator[object]:
    if io_files.is_remote(uri):
        from refsr.io import s3

        yield from [s3.head(uri)] if is_archive(uri) else s3.listing(uri + "/")
        return
    root = Path(uri)
    paths = [root] if root.is_file() else (Path(entry.path) for entry, _ in _scan(root, ""))
    for path in paths:
        facts = path.stat() if path.exists() else path.lstat()
        yield str(path.relative_to(root)), facts.st_size, facts.st_mtime_ns if path.is_file() else 0


def _archive(
    uri: str, place: str, prefix: str, work: Path | None, selection: Selection, known: Sequence[Path]
) -> pd.DataFrame:
    """The entries of an archive of the set at `uri`, its members' names after `prefix`."""
    name = io_archive.folder_name(uri, place)
    filled = [folder / name for folder in known if (folder / name / "index.parquet").exists()]
    for folder in filled:
        io_archive.require_whole(place, folder)
    if not filled and work is not None:
        io_archive.fill(place, work / name, lambda member, size: selection(prefix + member, size))
        filled = [work / name]
    tables = [io_archive.read_index(folder) for folder in filled] or [io_archive.names_only(place)]
    places = ["" if io_archive.is_packed(place) else place]
    codes, start = np.zeros(len(tables[0]), np.int32), tables[0]["start"].to_numpy(copy=True)
    for folder, index in zip(filled, tables, strict=False):
        shard = index["shard"].to_numpy()
        kept = shard >= 0
        codes[kept], start[kept] = len(places) + shard[kept], index["start"].to_numpy()[kept]
        places += [io_archive.shard_path(folder, number) for number in range(shard.max(initial=-1) + 1)]
    table = (
        tables[0].drop(columns="shard").assign(place=pd.Categorical.from_codes(codes, pd.Index(places)), start=start)
    )
    return table.assign(name=prefix + table["name"]) if prefix else table


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["name", "size", "is_folder", "fault", "detail", "start"]
    place = union_categoricals([table["place"] for table in tables])
    return pd.concat([table[columns] for table in tables], ignore_index=True).assign(place=place)


def _repeated(names: pd.Series) -> np.ndarray:
    """(N,) whether a name stands before as well; by hashes, since a table of so many strings is large."""
    hashes = [pd.util.hash_pandas_object(names.iloc[part], index=False) for part in blocks(len(names))]
    likely = np.flatnonzero(pd.concat([pd.Series(dtype="uint64"), *hashes]).duplicated(keep=False))
    again = np.zeros(len(names), bool)
    again[likely] = names.iloc[likely].duplicated()
    return again


def _local_files(uri: str) -> Iterator[Row]:
    for entry, name in _scan(Path(uri), ""):
        fault = _no_plain_file(entry)
        if fault:
            yield ascii(name)[1:-1], 0, False, "no_plain_file", fault, -1, _WHOLE
            continue
        is_folder = entry.is_dir()
        size = 0 if is_folder else entry.stat().st_size
        yield _named(name, size, is_folder)


def _no_plain_file(entry: "os.DirEntry[str]") -> str:
    """What is neither a folder nor a file, in words; "" for what is one."""
    try:
        if entry.is_dir() or entry.is_file():
            return ""
    except OSError as error:  # a link in a circle
        return f"a link that leads nowhere: {error.strerror}"
    return "a link that leads nowhere" if entry.is_symlink() else "neither a file nor a folder"


def _named(name: str, size: int, is_folder: bool) -> Row:
    if name.isprintable():
        return name, size, is_folder, "", "", -1, _WHOLE
    return ascii(name)[1:-1], size, False, "unsafe_name", "its name is not printable UTF-8", -1, _WHOLE


def _scan(folder: Path, prefix: str) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Files and folders in the order of their names, links followed, hidden ones passed over."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise RefsrError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith("."):
            continue
        yield entry, name
        if not _no_plain_file(entry) and entry.is_dir() and name.count("/") < _DEPTH:
            yield from _scan(Path(entry.path), name + "/")


def _remote_files(uri: str) -> Iterator[Row]:
    from refsr.io import s3

    anything = False
    for found in s3.listing(uri + "/"):
        anything = True
        if found.key and not marker.is_marker(found.key):
            yield _named(found.key.rstrip("/"), found.size, found.key.endswith("/"))
    if not anything:
        raise RefsrError(f"{uri}/: nothing under this prefix; look for it with `aws s3 ls`")
