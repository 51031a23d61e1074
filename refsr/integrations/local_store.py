"""The SQLite file of a local MLflow store: created completely or not at all."""

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
from urllib.parse import quote

from refsr.errors import RefsrError
from refsr.integrations.moved_store import (
    ARTIFACTS,
    connected,
    correct_paths,
    record,
    recorded,
)
from refsr.io.paths import checked_path
from refsr.redaction import hide

PREFIX = "sqlite:///"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def store_error(uri: str, reason: object) -> RefsrError:
    """An error about a store: its URI without the password, then what is wrong."""
    return RefsrError(f"tracking store {hide(uri)}: {reason}")


def store_file(uri: str) -> Path | None:
    """The file of a local store; None for a server, another database, or SQLite in memory."""
    path = uri.removeprefix(PREFIX)
    if not uri.startswith(PREFIX) or path in ("", ":memory:") or path.startswith("file:"):
        return None
    return Path(path.partition("?")[0])


def require_expanded(uri: str) -> str:
    """Return the URI.

    Raises:
        RefsrError: The path of a local store begins with `~`, which no driver expands.
    """
    path = uri.removeprefix(PREFIX).removeprefix("file://")
    if path.startswith("~"):
        try:
            checked_path(path)
        except ValueError as error:
            raise store_error(uri, error) from error
    return uri


def artifact_root(path: Path) -> Path:
    """The folder of artifacts of new experiments, beside the store."""
    return Path(os.path.realpath(path)).parent / ARTIFACTS


def require_file(uri: str) -> None:
    """Check that the path of a local store is a file; MLflow would retry for minutes.

    Raises:
        RefsrError: The path exists and is not a file.
    """
    path = store_file(uri)
    if path is not None and path.exists() and not path.is_file():
        raise store_error(str(path), "not a file; move it, or set MLFLOW_TRACKING_URI to another")


def require_existing(uri: str) -> None:
    """Check that a local store exists: only a tracked run creates one.

    Raises:
        RefsrError: There is no file at the path of a local store.
    """
    require_file(require_expanded(uri))
    path = Path(uri.removeprefix(PREFIX))
    if uri.startswith(PREFIX) and not path.is_file():
        raise RefsrError(
            f"{path}: no model registry here, and so no champion yet; run the pipeline first "
            "(`make demo` or `dvc repro`), go to the folder where it ran, or set "
            "MLFLOW_TRACKING_URI"
        )


def prepare(uri: str) -> str:
    """Create the store of this URI, or correct its paths; return the URI to open.

    A read-only store is not changed, and the returned URI refuses writes. If it has moved, the
    returned URI is that of a corrected temporary copy. A file that is not a store is left to
    MLflow, which reports it.
    """
    path = store_file(uri)
    if path is None or not path.absolute().parent.is_dir():
        return uri
    if not path.exists() or (path.stat().st_size == 0 and not is_read_only(path)):
        _create(path)
    here = os.path.realpath(path)
    try:
        if not is_read_only(path):
            correct_paths(path, here)
            return uri
        is_in_place = recorded(path) == here
        return _read_only_uri(path if is_in_place else _corrected_copy(path, here))
    except sqlite3.DatabaseError:
        return uri


def is_read_only(path: Path) -> bool:
    """Whether the store or its folder is read-only; permissions count for root too."""
    path = Path(os.path.realpath(path))
    return any(_is_protected(each) for each in (path, path.parent))


def _is_protected(path: Path) -> bool:
    return not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK)


def way_out(uri: str) -> str:
    """What to do about a local store that cannot be opened; "" if nothing is known."""
    path = store_file(uri)
    if path is None or not path.is_file():
        return ""
    try:
        with connected(path) as store:
            tables = {name for (name,) in store.execute(_TABLES)}
            named = [name for name in ("runs", "registered_models") if name in tables]
            filled = [name for name in named if _rows(store, name)]
    except sqlite3.DatabaseError:
        return f"restore {path} from a back-up, or move it away: the next stage creates a new one"
    if not tables:
        return ""
    if filled:
        return f"it holds runs or models: back up {path}, then run `mlflow db upgrade {uri}`"
    move = f"`mv {path} {path}.broken`"
    return f"it was left unfinished when it was created, and holds no run: {move}, then run again"


def _rows(store: sqlite3.Connection, table: str) -> int:
    query = f"SELECT count(*) FROM {table}"  # noqa: S608 - a name of this module
    return int(store.execute(query).fetchone()[0])


def _create(path: Path) -> None:
    """Create the store under a temporary name, then rename it; one of several processes does."""
    folder = Path(os.path.realpath(path)).parent
    with _lock(folder) as is_locked:
        if path.exists() and path.stat().st_size:
            return
        if is_locked:
            _remove_partial(folder, path.name)
        partial = folder / f".{path.name}.{secrets.token_hex(8)}.partial"
        try:
            _create_tables(partial, artifact_root(path))
            with connected(partial) as store:
                record(store, os.path.realpath(path))
            _put_in_place(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _remove_partial(folder: Path, name: str) -> None:
    """Remove what killed processes left; the folder is locked."""
    for left in folder.glob(f".{name}.*.partial*"):
        left.unlink(missing_ok=True)


def _create_tables(path: Path, root: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"{PREFIX}{path}", str(root))
    store.engine.dispose()


def _put_in_place(partial: Path, path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # does not replace what another process has created
    except FileExistsError:
        return
    except OSError:  # a disk without hard links
        partial.rename(path)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock a folder while a store is created in it; yield False if the disk has no locks."""
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


def _corrected_copy(path: Path, here: str) -> Path:
    folder = tempfile.mkdtemp(prefix="refsr-store-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / path.name
    shutil.copyfile(path, copy)
    correct_paths(copy, here)
    copy.chmod(stat.S_IRUSR)
    return copy


def _read_only_uri(path: Path) -> str:
    """No slash is left in the file's name: MLflow would create the folders before it, here."""
    file = quote(str(path.absolute()), safe="")
    return f"{PREFIX}file:{file}?mode=ro&uri=true"
