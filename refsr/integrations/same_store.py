"""Whether two URIs name one MLflow store.

Spellings of paths, hosts, ports, drivers and users make no difference.
"""

import os
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from refsr.integrations.mlflow_store import DEFAULT_PORTS

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")  # noqa: S104 - only compared
_ROUTING = ("host", "port", "dbname", "options", "service")  # parameters of a database's URI
_SQLITE, _FILE = "sqlite", "file"
Place = tuple[object, ...]


def is_same_store(one: str, other: str) -> bool:
    """Whether two tracking URIs name one store.

    Files are compared through all their links, servers by host, port and path. A server and the
    database behind it are not recognised as one.
    """
    return bool(_places(one) & _places(other))


def _places(uri: str) -> set[Place]:
    """The identities of a store: a file that exists has two, its path and its inode."""
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError:
        return {("text", uri)}
    kind = parts.scheme.lower().partition("+")[0]
    if kind == _SQLITE:
        return _file_places(_sqlite_path(uri))
    if kind in ("", _FILE):
        path = unquote(parts.path) if kind else uri.strip()
        return _file_places(path or ".")
    kind = "postgresql" if kind == "postgres" else kind
    return {_server_place(kind, parts, port or DEFAULT_PORTS.get(kind))}


def _server_place(kind: str, parts: SplitResult, port: int | None) -> Place:
    host = (parts.hostname or "").rstrip(".")
    if host in _LOOPBACK:
        host = _LOOPBACK[0]
    names = [name for name in unquote(parts.path).split("/") if name]
    place = (kind, host, port, "/".join(names))
    if kind in ("http", "https"):
        return place
    routing = [each for each in parse_qsl(parts.query) if each[0] in _ROUTING]
    return (*place, *sorted(routing))


def _sqlite_path(uri: str) -> str:
    path = uri.strip().partition("://")[2].removeprefix("/").partition("?")[0]
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file:"))
        path = "/" + path.lstrip("/") if path.startswith("//") else path
    return path or ":memory:"


def _file_places(path: str) -> set[Place]:
    if path == ":memory:":
        return set()  # each connection has its own database
    real = Path(os.path.realpath(path))
    places: set[Place] = {(_FILE, str(real))}
    try:
        status = real.stat()
    except OSError:
        return places
    return places | {("inode", status.st_dev, status.st_ino)}
