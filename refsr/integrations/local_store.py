"""The SQLite file of a local MLflow store: made whole or not at all, and mended when its folder has moved.

MLflow writes absolute locations of artifacts into the store. The table `refsr_store` says where the store lay when they
were written. If it lies elsewhere now, all locations below the old folder are rewritten in one transaction, so that a
copy of a project never reads or writes in the folder of the original.
"""

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from refsr.errors import RefsrError
from refsr.io.paths import checked_path
from refsr.redaction import hide

PREFIX = "sqlite:///"
ARTIFACTS = "mlruns"  # the folder beside the store
RECORD = "refsr_store"  # our table: one row, the real path of the store
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
    ("trace_tags", "value"),
)


def store_file(uri: str) -> Path | None:
    """The file of a local store; None for a server, another database, or SQLite in memory."""
    path = uri.removeprefix(PREFIX)
    if not uri.startswith(PREFIX) or path in ("", ":memory:") or path.startswith("file:"):
        return None
    return Path(path.partition("?")[0])


def require_expanded(uri: str) -> str:
    """The URI itself. Raises RefsrError where the path of a local store begins with `~`, which no driver expands."""
    path = uri.removeprefix(PREFIX).removeprefix("file://")
    if path.startswith("~"):
        try:
            checked_path(path)
        except ValueError as error:
            raise RefsrError(f"tracking store {hide(uri)}: {error}") from error
    return uri


def artifact_root(path: Path) -> Path:
    """Where artifacts of new experiments go: beside the store."""
    return Path(os.path.realpath(path)).parent / ARTIFACTS


def require_file(uri: str) -> None:
    """Raises RefsrError where a local store is no file, which MLflow would try to open for minutes."""
    path = store_file(uri)
    if path is not None and path.exists() and not path.is_file():
        raise RefsrError(f"tracking store {path}: no file; move it, or set MLFLOW_TRACKING_URI to another")


def require_existing(uri: str) -> None:
    """Only a tracked run makes a new SQLite file; to look for a model in the wrong folder leaves none behind."""
    require_file(require_expanded(uri))
    path = Path(uri.removeprefix(PREFIX))
    if uri.startswith(PREFIX) and not path.is_file():
        raise RefsrError(
            f"{path}: no model registry here, and so no champion yet; run the pipeline first (`make demo` or "
            "`dvc repro`), go to the folder where it ran, or set MLFLOW_TRACKING_URI"
        )


def prepare(uri: str) -> str:
    """Have the store of this URI made or mended; returns the URI to open.

    A store that may not be written to is left as it is, and the URI returned refuses writes. If it was moved, the URI
    is that of a mended temporary copy. Files that are no store are left to MLflow, which explains them.
    """
    path = store_file(uri)
    if path is None or not path.absolute().parent.is_dir():
        return uri
    if not path.exists() or (path.stat().st_size == 0 and not is_read_only(path)):
        _create(path)
    here = os.path.realpath(path)
    try:
        if not is_read_only(path):
            _mend(path, here)
            return uri
        return _read_only_uri(path if _recorded(path) == here else _mended_copy(path, here))
    except sqlite3.DatabaseError:
        return uri


def is_read_only(path: Path) -> bool:
    """Whether the store or its folder may not be written to. For root, permissions count too."""
    path = Path(os.path.realpath(path))
    return any(not place.stat().st_mode & 0o222 or not os.access(place, os.W_OK) for place in (path, path.parent))


def way_out(uri: str) -> str:
    """What to do about a local store that cannot be opened; empty where nothing is known."""
    path = store_file(uri)
    if path is None or not path.is_file():
        return ""
    try:
        with _connected(path) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return ""
            held = [table for table in ("runs", "registered_models") if table in tables and _rows(store, table)]
    except sqlite3.DatabaseError:
        return f"restore {path} from a back-up, or move it away: the next stage makes a new, empty one"
    if held:
        return f"it holds runs or models: back up {path}, then run `mlflow db upgrade {uri}`"
    return f"it was left unfinished when it was made, and holds no run: `mv {path} {path}.broken`, then run again"


def _rows(store: sqlite3.Connection, table: str) -> int:
    return int(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own names


def _create(path: Path) -> None:
    """Make the store beside its place and give it its name last; of several processes one does so."""
    folder = Path(os.path.realpath(path)).parent
    with _lock(folder) as is_locked:
        if path.exists() and path.stat().st_size:
            return
        if is_locked:
            for left in folder.glob(f".{path.name}.*.partial*"):  # of processes killed here
                left.unlink(missing_ok=True)
        partial = folder / f".{path.name}.{secrets.token_hex(8)}.partial"
        try:
            _make_tables(partial, artifact_root(path))
            with _connected(partial) as store:
                _record(store, os.path.realpath(path))
            _put_in_place(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _make_tables(path: Path, root: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"{PREFIX}{path}", str(root))
    store.engine.dispose()


def _put_in_place(partial: Path, path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # refuses to replace what another process has made
    except FileExistsError:
        return
    except OSError:  # a disk without hard links
        partial.rename(path)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock a folder against others that make a store in it; False where the disk cannot lock folders."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@contextlib.contextmanager
def _connected(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None)) as store:
        yield store


def _recorded(path: Path) -> str | None:
    with _connected(path, "ro") as store:
        return _read_record(store)


def _read_record(store: sqlite3.Connection) -> str | None:
    known = store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (RECORD,)).fetchone()
    row = store.execute(f"SELECT place FROM {RECORD}").fetchone() if known else None  # noqa: S608
    return str(row[0]) if row else None


def _record(store: sqlite3.Connection, place: str) -> None:
    store.execute(f"CREATE TABLE IF NOT EXISTS {RECORD} (place TEXT NOT NULL)")
    store.execute(f"DELETE FROM {RECORD}")  # noqa: S608
    store.execute(f"INSERT INTO {RECORD} VALUES (?)", (place,))  # noqa: S608


def _mend(path: Path, here: str) -> None:
    """Rewrite the locations of a store that lies at `here` now, if it lay elsewhere before."""
    if _recorded(path) == here:
        return
    with _connected(path) as store:
        store.execute("BEGIN IMMEDIATE")
        recorded = _read_record(store)
        if recorded != here and _columns(store, "experiments"):
            old = str(Path(recorded).parent) if recorded else _first_root(store, Path(here))
            new = str(Path(here).parent)
            if old and old != new:
                _rewrite(store, old, new)
            _record(store, here)
        store.execute("COMMIT")


def _first_root(store: sqlite3.Connection, here: Path) -> str | None:
    """The folder that a store without a record was made in, if its artifacts moved with it; else None."""
    row = store.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id LIMIT 1").fetchone()
    location = str(row[0]) if row else ""
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    root, found, _ = location.rpartition(f"/{ARTIFACTS}/")
    if not found or not Path(root).is_absolute():
        return None
    is_copy = (here.parent / ARTIFACTS).is_dir() or (Path(root) / here.name).exists() or not Path(root).exists()
    return root if is_copy else None


def _rewrite(store: sqlite3.Connection, old: str, new: str) -> None:
    spellings = {(old, new), (quote(old), quote(new))}
    pairs = {(scheme + before, scheme + after) for scheme in ("", "file://") for before, after in spellings}
    for table, column in _LOCATIONS:
        if column not in _columns(store, table):
            continue
        for before, after in pairs:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (after, len(before) + 1, len(before) + 1, before + "/"),
            )


def _columns(store: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in store.execute(f"PRAGMA table_info({table})")}


def _mended_copy(path: Path, here: str) -> Path:
    folder = tempfile.mkdtemp(prefix="refsr-store-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / path.name
    shutil.copyfile(path, copy)
    _mend(copy, here)
    copy.chmod(stat.S_IRUSR)
    return copy


def _read_only_uri(path: Path) -> str:
    return f"{PREFIX}file:{quote(str(path.absolute()))}?mode=ro&uri=true"
