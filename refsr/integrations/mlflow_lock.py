"""A lock that every client of one MLflow store sees: a registered model whose name is unique in the store.

MLflow has no compare-and-set. The store refuses a second registered model of the same name, on SQLite, PostgreSQL and a
server alike, so whoever creates it holds the lock.
"""

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError

EXPIRY = 30.0  # seconds after which a lock that does not change hands counts as left by a dead process
PAUSE = 0.1  # seconds between two looks
WAIT = 120.0  # seconds
_TAKEN, _MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


@contextlib.contextmanager
def locked(client: Any, name: str) -> Iterator[None]:
    """Hold the lock `name` of a store while the block runs; the block must end well within EXPIRY.

    A stale lock is not deleted, which two processes could do to each other's: the next number is created instead. Its
    holder alone deletes the stale ones, in ascending order.

    Raises:
        RefsrError: Others hold the lock for WAIT seconds.
    """
    token = {"id": secrets.token_hex(8), "host": socket.gethostname(), "pid": os.getpid()}
    held = _take(client, name, json.dumps(token))
    try:
        yield
    finally:
        for number in range(held + 1):
            _delete(client, _numbered(name, number))


def _take(client: Any, name: str, token: str) -> int:
    """The number under which the lock was created, after every lower one turned out to be stale."""
    end = time.monotonic() + WAIT
    seen: dict[int, tuple[str, float]] = {}  # number -> who held it, since when by our own clock
    number = 0
    while time.monotonic() < end:
        if _create(client, _numbered(name, number), token):
            stale = {lower: seen[lower][0] for lower in range(number)}
            if all(_holder(client, _numbered(name, lower)) == who for lower, who in stale.items()):
                return number
            _delete(client, _numbered(name, number))
            number, seen = 0, {}
            continue
        holder = _holder(client, _numbered(name, number))
        if holder is None:  # released in between
            number, seen = 0, {}
            continue
        if number not in seen or seen[number][0] != holder:
            seen[number] = holder, time.monotonic()
        if _is_dead(holder) or time.monotonic() - seen[number][1] > EXPIRY:
            number += 1
            continue
        time.sleep(PAUSE)
    raise RefsrError(f"another process changes the champion since {WAIT:.0f} s; run again once it has ended")


def _numbered(name: str, number: int) -> str:
    return f"{name}.lock-{number}"


def _create(client: Any, name: str, token: str) -> bool:
    from mlflow import MlflowException

    try:
        client.create_registered_model(name, description=token)
    except MlflowException as error:
        if error.error_code not in (_TAKEN, _MISSING):  # missing: released while the store looked at it
            raise
        return False
    return True


def _holder(client: Any, name: str) -> str | None:
    from mlflow import MlflowException

    try:
        return str(client.get_registered_model(name).description)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        return None


def _delete(client: Any, name: str) -> None:
    from mlflow import MlflowException

    try:
        client.delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise


def _is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    try:
        document = json.loads(holder)
        host, pid = str(document["host"]), int(document["pid"])
    except (ValueError, KeyError, TypeError):
        return False
    return host == socket.gethostname() and Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists()
