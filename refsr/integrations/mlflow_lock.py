"""A lock that every client of one MLflow store sees: a registered model whose name is unique in the store.

MLflow has no compare-and-set. The store refuses a second registered model of the same name, on SQLite, PostgreSQL and a
server alike, so whoever creates it holds the lock.

A holder keeps the lock for a lease of EXPIRY seconds. One that is paused for longer may lose it to another, so it asks
`Held.require` before each write, and is asked once more after the last: it never ends as if it had won.
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
_SAFE = 0.8  # of a lease: what comes later may reach the store too late
_TAKEN, _MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


class Held:
    """A lock that this process took.

    Args:
        client: MLflow's client of the store.
        name: The name of the lock.
        tokens: Who created each number of it: stale holders first, this process last.
        taken: When this process began to create its own, by `_now`.
    """

    def __init__(self, client: Any, name: str, tokens: list[str], taken: float) -> None:
        self._client = client
        self._name = name
        self._tokens = tokens
        self._taken = taken

    def require(self, after: str = "nothing more was written") -> None:
        """Check that no other process can hold the lock. Call it right before each write.

        Raises:
            RefsrError: The lease has ended, or the lock is another's; `after` says what was written.
        """
        number = len(self._tokens) - 1
        lasts = _now() - self._taken < EXPIRY * _SAFE
        if lasts and _holder(self._client, _numbered(self._name, number)) == self._tokens[-1]:
            return
        raise LeaseLostError(
            f"this process was paused for too long while it changed {self._name!r} (a lease lasts {EXPIRY:.0f} s), "
            f"and another may have changed it meanwhile: {after}; run the command again, which compares anew"
        )

    def release(self) -> None:
        """Delete the lock, and the stale ones below it; what others hold by now stays."""
        for number, token in enumerate(self._tokens):
            if _holder(self._client, _numbered(self._name, number)) == token:
                _delete(self._client, _numbered(self._name, number))


class LeaseLostError(RefsrError):
    """A holder outlived its lease."""


@contextlib.contextmanager
def locked(client: Any, name: str) -> Iterator[Held]:
    """Hold the lock `name` of a store while the block runs; the block must end well within EXPIRY.

    A stale lock is not deleted, which two processes could do to each other's: the next number is created instead. Its
    holder alone deletes the stale ones, in ascending order. A holder that lost its lease deletes nothing: its own
    number still keeps newcomers from the numbers below the one that is held now.

    Raises:
        RefsrError: Others hold the lock for WAIT seconds, or this process lost it to another.
    """
    token = {"id": secrets.token_hex(8), "host": socket.gethostname(), "pid": os.getpid()}
    held = _take(client, name, json.dumps(token))
    try:
        yield held
        held.require("look which version is champion now")
    except LeaseLostError:
        raise
    except BaseException:
        with contextlib.suppress(LeaseLostError):
            held.require()
            held.release()
        raise
    held.release()


def _take(client: Any, name: str, token: str) -> Held:
    """Create the lock, after every lower number turned out to be stale."""
    end = time.monotonic() + WAIT
    seen: dict[int, tuple[str, float]] = {}  # number -> who held it, since when by our own clock
    number = 0
    while time.monotonic() < end:
        began = _now()
        if _create(client, _numbered(name, number), token):
            stale = [seen[lower][0] for lower in range(number)]
            if all(_holder(client, _numbered(name, lower)) == who for lower, who in enumerate(stale)):
                return Held(client, name, [*stale, token], began)
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


def _now() -> float:
    """Seconds by a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
