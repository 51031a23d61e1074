"""Whether two URIs name one MLflow store: spellings of paths, hosts, ports, drivers and users do not count."""

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")  # noqa: S104 - compared, not listened to
_SQLITE, _FILE = "sqlite", "file"
Place = tuple[object, ...]


def is_same_store(one: str, other: str) -> bool:
    """Whether two tracking URIs lead to one store: a file by all its links, a server by host, port and path.

    A server and the database behind it are not recognised.
    """
    return bool(_places(one) & _places(other))


def _places(uri: str) -> set[Place]:
    """What identifies a store; more than one thing where the file system knows it under several names."""
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError:
        return {("text", uri)}
    kind = parts.scheme.lower().partition("+")[0]
    if kind == _SQLITE:
        return _files(_sqlite_path(uri))
    if kind in ("", _FILE):
        text = unquote(parts.path) if kind else uri.strip()
        return _files(text or ".")
    host = (parts.hostname or "").rstrip(".")
    kind = "postgresql" if kind == "postgres" else kind
    place: Place = (
        kind,
        _LOOPBACK[0] if host in _LOOPBACK else host,
        port or _PORTS.get(kind),
        "/".join(part for part in unquote(parts.path).split("/") if part),
    )
    if kind not in ("http", "https"):
        place = (*place, *sorted(_routing(parts.query)))
    return {place}


def _routing(query: str) -> list[tuple[str, str]]:
    """The parameters of a database's URI that say where it is."""
    return [(key, value) for key, value in parse_qsl(query) if key in ("host", "port", "dbname", "options", "service")]


def _sqlite_path(uri: str) -> str:
    text = uri.strip().partition("://")[2].removeprefix("/").partition("?")[0]
    if text.startswith("file:"):
        text = unquote(text.removeprefix("file:"))
        text = "/" + text.lstrip("/") if text.startswith("//") else text
    return text or ":memory:"


def _files(text: str) -> set[Place]:
    if text == ":memory:":
        return set()  # each connection has its own
    path = Path(os.path.realpath(text))
    found: set[Place] = {(_FILE, str(path))}
    try:
        facts = path.stat()
    except OSError:
        return found
    return found | {("inode", facts.st_dev, facts.st_ino)}
