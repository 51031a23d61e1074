"""Open an MLflow store: an SQLite file on a laptop, a database or a server for a cluster."""

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from refsr import log
from refsr.errors import RefsrError
from refsr.integrations.local_store import (
    is_read_only,
    prepare,
    require_expanded,
    require_file,
    store_error,
    store_file,
    way_out,
)
from refsr.integrations.mlflow_login import refusal
from refsr.io.paths import require_folder, require_writable
from refsr.io.servers import is_http, no_answer
from refsr.redaction import hide, remember, without_userinfo

MISSING = "RESOURCE_DOES_NOT_EXIST"  # MLflow's error code
DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "postgresql": 5432,
    "mysql": 3306,
    "mssql": 1433,
}
# MLflow's UI opens its pages for generative AI unless an address, or a person, asks for these.
MODEL_PAGES = "?workflowType=machine_learning"
TIMEOUT = 5.0  # seconds to wait for a server or a database
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_ANOTHER = "set MLFLOW_TRACKING_URI to another store"
_READ_ONLY = f"it may not be written to; copy its folder and run there, or {_ANOTHER}"
_STORES = "a server, http(s)://..., or to a file, sqlite:///mlflow.db"


def open_store(tracking_uri: str) -> Any:
    """Set MLflow to a store, without output on the terminal, and return the mlflow module.

    Raises:
        RefsrError: The store does not answer or cannot be opened. A server that does not answer
            is reported after TIMEOUT seconds; MLflow alone retries for minutes.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    remember(require_expanded(tracking_uri))
    require_file(tracking_uri)
    _require_answer(tracking_uri)
    with quiet():
        import mlflow

        log.adopt("mlflow", "alembic")
        try:
            _connect(mlflow, prepare(tracking_uri))
        except Exception as error:  # database drivers raise errors of any type
            raise _cannot_open(tracking_uri, error) from error
    return mlflow


def _connect(mlflow: Any, uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.search_experiments(max_results=1)


def _cannot_open(tracking_uri: str, error: Exception) -> RefsrError:
    if refused := refusal(error):
        return store_error(tracking_uri, refused)
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    hints = [
        _missing_driver(error) or way_out(tracking_uri),
        f"set MLFLOW_TRACKING_URI to {_STORES}",
    ]
    way = "; or ".join(hint for hint in hints if hint)
    return store_error(tracking_uri, f"cannot be opened: {reason}; {way}")


def _missing_driver(error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return "pip install 'refsr[server]' adds the driver of postgresql+psycopg://"


def require_store(tracking_uri: str) -> None:
    """Check that a store can be written to, without opening it.

    Raises:
        RefsrError: No server answers, or the file or the folder of a local store is read-only
            or missing.
    """
    remember(tracking_uri)
    _require_answer(tracking_uri)
    path = store_file(tracking_uri)
    if path is None:
        return
    folder = path.absolute().parent
    try:
        require_folder(folder)
        if not folder.is_dir():
            missing = f"{folder}: no such folder"
            raise RefsrError(f"cannot be opened: {missing}; create it, or name another")
        if path.exists() and is_read_only(path):
            raise RefsrError(_READ_ONLY)
        require_writable(path if path.exists() else folder)
    except RefsrError as error:
        raise store_error(tracking_uri, error) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the deprecation warnings of MLflow's own dependencies, except with -v."""
    with warnings.catch_warnings():
        if not log.is_verbose():
            warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Convert an MlflowException of an open store into a RefsrError that names the store."""
    from mlflow import MlflowException

    try:
        yield
    except MlflowException as error:
        path = store_file(tracking_uri)
        is_refused = "readonly" in str(error)
        if is_refused and path is not None and path.is_file() and is_read_only(path):
            raise store_error(tracking_uri, _READ_ONLY) from error
        raise store_error(tracking_uri, refusal(error) or error.message) from error


@contextlib.contextmanager
def ignored(*codes: str) -> Iterator[None]:
    """Suppress an MlflowException that has one of these error codes."""
    from mlflow import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


def _require_answer(uri: str) -> None:
    """Raise RefsrError at once if no server or database listens at the URI."""
    if not uri.startswith(("http:", "https:")):
        _require_database(uri)
        return
    if not is_http(uri):
        raise RefsrError(f"tracking server {hide(uri)}: not a URL; pass http://HOST:PORT")
    health = without_userinfo(uri).rstrip("/") + "/health"
    if error := no_answer(health, TIMEOUT):
        raise RefsrError(
            f"tracking server {hide(uri)}: no answer ({error}); start it, or set "
            "MLFLOW_TRACKING_URI to another store (sqlite:///mlflow.db needs no server)"
        ) from error


def _require_database(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        default = DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
        port = parts.port or default
    except ValueError:
        return  # the driver explains it
    if not parts.hostname or port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), TIMEOUT).close()
    except OSError as error:
        way = "start the database, or set MLFLOW_TRACKING_URI to another store"
        raise store_error(uri, f"no answer ({error}); {way}") from error
