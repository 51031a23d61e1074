"""Raw sets: a folder, a tar, a tar.gz, or a folder with some of these; local or on S3.

Each is a table of files with the extent of their bytes, so that readers need not know its kind.
Members of an archive in a folder are named as if it were unpacked beside itself:
`vggface2_train.tar.gz` -> `vggface2_train/...`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from refsr.errors import RefsrError
from refsr.io import archive as io_archive
from refsr.io import files as io_files
from refsr.io.archive import Selection
from refsr.io.archive_shards import shard_path
from refsr.io.arrays import blocks
from refsr.io.files import Extent
from refsr.io.listing import IN_NO_ARCHIVE, local_files, remote_files, scan
from refsr.io.tar import MAX_FILE

ARCHIVES = (".tar", ".tar.gz", ".tgz")


class Source:
    """A raw set opened for reading.

    Attributes:
        uri: Its path or URI.
        files: name (relative to the set), size, place and start of the bytes of each file. Files of
            a tar.gz whose bytes were not kept have no place.
        refused: name, reason, value and detail of entries that are never read.
        folders: Names of its folders, empty ones included.
        archives: The place of each archive in it -> the prefix of its members' names.
    """

    def __init__(self, uri: str, entries: pd.DataFrame, archives: dict[str, str]) -> None:
        self.uri, self.archives = uri, archives
        self.folders = entries.loc[entries["is_folder"], "name"].tolist()
        files = np.flatnonzero(~entries["is_folder"])
        faulty = (entries["fault"] != "").to_numpy()[files]
        again = _repeated(entries["name"].iloc[files]) & ~faulty
        left_out = faulty | again
        self.refused = _refused(entries.iloc[files[left_out]])
        columns = entries[["name", "size", "place", "start"]]
        self.files = columns.iloc[files[~left_out]].reset_index(drop=True)

    @property
    def signature(self) -> str:
        """A hash of the names and sizes of all files; it does not depend on the set's place."""
        digest = hashlib.sha256()
        columns = self.files[["name", "size"]]
        for part in blocks(len(self.files)):
            rows = pd.util.hash_pandas_object(columns.iloc[part], index=False)
            digest.update(rows.to_numpy().tobytes())
        return digest.hexdigest()

    def extents(self, rows: np.ndarray) -> list[Extent]:
        """The extents of these rows of `files`. Raises RefsrError where bytes were not kept."""
        chosen = self.files.iloc[rows]
        lost = chosen.loc[chosen["place"] == "", "name"]
        if len(lost):
            raise RefsrError(
                f"{self.uri}: {lost.iloc[0]} cannot be read: of a tar.gz only selected files are "
                "kept; unpack the archive, or use an uncompressed .tar"
            )
        return [
            Extent(
                f"{place}/{name}",
                0,
                size,
            )
            if start == IN_NO_ARCHIVE
            else Extent(place, start, size)
            for name, size, place, start in chosen.itertuples(index=False)
        ]

    def keep(self, rows: np.ndarray, work: Path) -> None:
        """Keep the bytes of these rows of `files`; missing ones are read from their tar.gz again.

        Raises:
            RefsrError: An archive cannot be read.
        """
        is_lost = (self.files["place"].iloc[rows] == "").to_numpy()
        lost = set(self.files["name"].iloc[rows[is_lost]])
        if not lost:
            return
        digest = hashlib.sha256("\n".join(sorted(lost)).encode()).hexdigest()
        places = self.files["place"].astype("str")
        for archive, prefix in self.archives.items():
            folder = work / f"{io_archive.folder_name(self.uri, archive)}-{digest[:12]}"
            io_archive.fill(archive, folder, partial(_is_in, lost, prefix))
            self._add_places(places, folder, prefix)
        self.files["place"] = places.astype("category")

    def _add_places(self, places: "pd.Series[str]", folder: Path, prefix: str) -> None:
        """Fill in place and start of files without a place that are kept in an archive's folder."""
        index = io_archive.read_index(folder)
        index = index[index["shard"] >= 0].drop_duplicates("name")
        members = pd.Index(prefix + index["name"])
        at = members.get_indexer(pd.Index(self.files["name"]))
        taken = (at >= 0) & (places == "").to_numpy()
        shards = index["shard"].to_numpy()[at[taken]]
        paths = [shard_path(folder, int(shard)) for shard in shards]
        places[taken] = np.array(paths, object)
        self.files.loc[taken, "start"] = index["start"].to_numpy()[at[taken]]

    def read(self, row: int) -> bytes:
        """The bytes of one file. Raises RefsrError where it is larger than MAX_FILE."""
        (extent,) = self.extents(np.array([row]))
        if extent.length > MAX_FILE:
            name = self.files["name"].iloc[row]
            limit = f"files of more than {MAX_FILE} are not read"
            raise RefsrError(f"{self.uri}/{name}: {extent.length} bytes; {limit}; remove it")
        return io_files.read(extent)


def _refused(entries: pd.DataFrame) -> pd.DataFrame:
    """Entries that are never read, as rejects; those without a fault have a repeated name."""
    refused = entries.rename(columns={"fault": "reason", "size": "value"})
    repeated = refused["reason"] == ""
    detail = "an earlier member has this name"
    refused.loc[repeated, ["reason", "detail"]] = "duplicate_name", detail
    return refused[["name", "reason", "value", "detail"]]


def _is_in(names: set[str], prefix: str, name: str, size: int) -> bool:
    return prefix + name in names


def is_archive(place: str) -> bool:
    """Whether the name of a place is that of a tar or tar.gz."""
    return place.lower().endswith(ARCHIVES)


def stem(name: str) -> str:
    """The name of an archive without its suffix; any other name as it is."""
    for suffix in ARCHIVES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _everything(name: str, size: int) -> bool:
    return True


def open_source(
    raw: str | Path,
    work: Path | None = None,
    selection: Selection = _everything,
    known: Sequence[Path] = (),
) -> Source:
    """Open a raw set.

    Args:
        raw: Its path or URI.
        work: Keeps the index of each archive, and the selected files of each tar.gz; without it
            neither is kept.
        selection: Which files of a tar.gz are kept, by name and size.
        known: Folders like `work` that may hold them already.

    Raises:
        RefsrError: There is no raw set, or it cannot be read.
    """
    uri = str(raw).rstrip("/")
    if is_archive(uri):
        return Source(uri, _archive(uri, uri, "", work, selection, known), {uri: ""})
    entries = remote_files(uri) if io_files.is_remote(uri) else local_files(uri)
    files = io_archive.frame(entries)
    codes = np.zeros(len(files), np.int8)
    files["place"] = pd.Categorical.from_codes(codes, pd.Index([uri]))
    files["start"] = IN_NO_ARCHIVE
    packed = files["name"].str.lower().str.endswith(ARCHIVES) & ~files["is_folder"]
    archives = {f"{uri}/{name}": stem(name) + "/" for name in files.loc[packed, "name"]}
    tables = [files[~packed]]
    for place, prefix in archives.items():
        tables.append(_archive(uri, place, prefix, work, selection, known))
    return Source(uri, _joined(tables), archives)


def check(raw: str | Path) -> None:
    """Raises RefsrError where there is no such raw set, or it cannot be read; little is read."""
    uri = str(raw).rstrip("/")
    if not io_files.is_remote(uri) and not Path(uri).exists():
        raise RefsrError(f"{uri}: no such file or folder")
    if is_archive(uri):
        io_files.size_of(uri)
    elif io_files.is_remote(uri):
        next(remote_files(uri))
    elif not Path(uri).is_dir():
        raise RefsrError(f"{uri}: neither a folder nor an archive ({', '.join(ARCHIVES)})")


def fingerprint(raw: str | Path) -> str:
    """A hash that changes with the set.

    It is of names, sizes and times of local files, and of names, sizes and ETags on S3.
    """
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
    paths = [root] if root.is_file() else (Path(entry.path) for entry, _ in scan(root, ""))
    for path in paths:
        facts = path.stat() if path.exists() else path.lstat()
        yield str(path.relative_to(root)), facts.st_size, facts.st_mtime_ns if path.is_file() else 0


def _archive(
    uri: str,
    place: str,
    prefix: str,
    work: Path | None,
    selection: Selection,
    known: Sequence[Path],
) -> pd.DataFrame:
    """The entries of an archive of the set at `uri`; `prefix` precedes its members' names."""
    folders = _archive_folders(uri, place, prefix, work, selection, known)
    tables = [io_archive.read_index(folder) for folder in folders]
    table = tables[0] if tables else io_archive.names_only(place)
    places = ["" if io_archive.is_packed(place) else place]
    codes = np.zeros(len(table), np.int32)
    start = table["start"].to_numpy(copy=True)
    for folder, index in zip(folders, tables, strict=True):
        shard = index["shard"].to_numpy()
        kept = shard >= 0
        codes[kept] = len(places) + shard[kept]
        start[kept] = index["start"].to_numpy()[kept]
        numbers = range(shard.max(initial=-1) + 1)
        places += [shard_path(folder, number) for number in numbers]
    column = pd.Categorical.from_codes(codes, pd.Index(places))
    table = table.drop(columns="shard").assign(place=column, start=start)
    return table.assign(name=prefix + table["name"]) if prefix else table


def _archive_folders(
    uri: str,
    place: str,
    prefix: str,
    work: Path | None,
    selection: Selection,
    known: Sequence[Path],
) -> list[Path]:
    """Folders with the index of an archive: those in `known`, else one in `work`, filled first."""
    name = io_archive.folder_name(uri, place)
    filled = [folder / name for folder in known if (folder / name / "index.parquet").exists()]
    for folder in filled:
        io_archive.require_whole(place, folder)
    if filled or work is None:
        return filled
    io_archive.fill(place, work / name, lambda member, size: selection(prefix + member, size))
    return [work / name]


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["name", "size", "is_folder", "fault", "detail", "start"]
    place = union_categoricals([table["place"] for table in tables])
    return pd.concat([table[columns] for table in tables], ignore_index=True).assign(place=place)


def _repeated(names: pd.Series) -> np.ndarray:
    """(N,) whether a name occurs earlier; found by hashes, which are smaller than the strings."""
    parts = (names.iloc[part] for part in blocks(len(names)))
    hashes = [pd.util.hash_pandas_object(part, index=False) for part in parts]
    none = pd.Series(dtype="uint64")
    likely = np.flatnonzero(pd.concat([none, *hashes]).duplicated(keep=False))
    again = np.zeros(len(names), bool)
    again[likely] = names.iloc[likely].duplicated()
    return again
