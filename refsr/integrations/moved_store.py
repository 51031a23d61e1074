"""Correct the paths in the SQLite file of a local MLflow store that has moved.

MLflow writes absolute paths of artifacts into the file. The table `refsr_store` records the path
of the store for which they were written. If the store is elsewhere now, all paths below the old
folder are rewritten in one transaction, so that a copy of a project never reads or writes in the
folder of the original.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

ARTIFACTS = "mlruns"  # the folder beside the store
RECORD = "refsr_store"  # this package's table: one row, the real path of the store
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
    ("trace_tags", "value"),
)
_FIRST = "SELECT artifact_location FROM experiments ORDER BY experiment_id LIMIT 1"


@contextlib.contextmanager
def connected(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """Connect to an SQLite file that exists; `mode` is "rw" or "ro"."""
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    store = sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None)
    with contextlib.closing(store):
        yield store


def recorded(path: Path) -> str | None:
    """The path of the store for which its paths were written; None if it has no record."""
    with connected(path, "ro") as store:
        return _read_record(store)


def _read_record(store: sqlite3.Connection) -> str | None:
    known = store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (RECORD,)).fetchone()
    if not known:
        return None
    row = store.execute(f"SELECT place FROM {RECORD}").fetchone()  # noqa: S608
    return str(row[0]) if row else None


def record(store: sqlite3.Connection, path: str) -> None:
    """Record the real path of the store in itself."""
    store.execute(f"CREATE TABLE IF NOT EXISTS {RECORD} (place TEXT NOT NULL)")
    store.execute(f"DELETE FROM {RECORD}")  # noqa: S608
    store.execute(f"INSERT INTO {RECORD} VALUES (?)", (path,))  # noqa: S608


def correct_paths(path: Path, here: str) -> None:
    """Rewrite the paths in a store that is at `here` (a real path) and was elsewhere before."""
    if recorded(path) == here:
        return
    with connected(path) as store:
        store.execute("BEGIN IMMEDIATE")
        before = _read_record(store)
        if before != here and _columns(store, "experiments"):
            old = str(Path(before).parent) if before else _first_root(store, Path(here))
            new = str(Path(here).parent)
            if old and old != new:
                _rewrite(store, old, new)
            record(store, here)
        store.execute("COMMIT")


def _first_root(store: sqlite3.Connection, here: Path) -> str | None:
    """The folder in which a store without a record was created.

    None if its artifacts did not move with it.
    """
    row = store.execute(_FIRST).fetchone()
    location = str(row[0]) if row else ""
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    root, separator, _ = location.rpartition(f"/{ARTIFACTS}/")
    if not separator or not Path(root).is_absolute():
        return None
    has_artifacts = (here.parent / ARTIFACTS).is_dir()
    is_copy = has_artifacts or (Path(root) / here.name).exists() or not Path(root).exists()
    return root if is_copy else None


def _rewrite(store: sqlite3.Connection, old: str, new: str) -> None:
    spellings = {(old, new), (quote(old), quote(new))}
    schemes = ("", "file://")
    pairs = {(each + before, each + after) for each in schemes for before, after in spellings}
    for table, column in _LOCATIONS:
        if column not in _columns(store, table):
            continue
        update = (
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
            f"WHERE substr({column}, 1, ?) = ?"
        )
        for before, after in pairs:
            length = len(before) + 1
            store.execute(update, (after, length, length, before + "/"))


def _columns(store: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in store.execute(f"PRAGMA table_info({table})")}
