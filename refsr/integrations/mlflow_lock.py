"""A lock that every client of one MLflow store sees: a registered model of a unique name.

MLflow has no compare-and-set. Every store (SQLite, PostgreSQL, a server) refuses a second
registered model of the same name, so the process that creates it holds the lock.

A holder keeps the lock for a lease of EXPIRY seconds. A process that is paused for longer may
lose it, so it calls `Held.require` before each write and once more after the last.
"""

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import MISSING, ignored
from refsr.integrations.processes import is_alive

EXPIRY = 30.0  # seconds after which a lock of one holder counts as left by a dead process
PAUSE = 0.1  # seconds between two attempts
WAIT = 120.0  # seconds to wait for the lock
_SAFE = 0.8  # share of a lease: a later write may reach the store too late
_TAKEN = "RESOURCE_ALREADY_EXISTS"  # MLflow's error code


class Held:
    """A lock that this process holds.

    Args:
        client: MLflow's client of the store.
        name: The name of the lock.
        tokens: The holder of each number of the lock: stale holders first, this process last.
        taken: When this process began to create its own number, by `_now`.
    """

    def __init__(self, client: Any, name: str, tokens: list[str], taken: float) -> None:
        self._client = client
        self._name = name
        self._tokens = tokens
        self._taken = taken

    def require(self, after: str = "nothing more was written") -> None:
        """Check that no other process can hold the lock. Call it right before each write.

        Raises:
            RefsrError: The lease has ended, or another process holds the lock. `after` says what
                was written.
        """
        number = len(self._tokens) - 1
        is_valid = _now() - self._taken < EXPIRY * _SAFE
        if is_valid and _holder(self._client, self._name, number) == self._tokens[-1]:
            return
        raise LeaseLostError(
            f"this process was paused for too long while it changed {self._name!r} (a lease lasts "
            f"{EXPIRY:.0f} s), and another process may have changed it meanwhile: {after}; run "
            "the command again, which compares anew"
        )

    def release(self) -> None:
        """Delete the lock and the stale ones below it, unless others hold them by now."""
        for number, token in enumerate(self._tokens):
            if _holder(self._client, self._name, number) == token:
                _delete(self._client, self._name, number)


class LeaseLostError(RefsrError):
    """A holder outlived its lease."""


@contextlib.contextmanager
def locked(client: Any, name: str) -> Iterator[Held]:
    """Hold the lock `name` of a store while the block runs; it must end well within EXPIRY.

    A stale lock is not deleted, because two processes could delete each other's. The next number
    is created instead; its holder alone deletes the stale ones, in ascending order. A holder that
    lost its lease deletes nothing: its number still keeps others from the numbers below.

    Raises:
        RefsrError: Others hold the lock for WAIT seconds, or this process lost it.
    """
    token = {"id": secrets.token_hex(8), "host": socket.gethostname(), "pid": os.getpid()}
    held = _take(client, name, json.dumps(token))
    try:
        yield held
        held.require("check which version is champion now")
    except LeaseLostError:
        raise
    except BaseException:
        with contextlib.suppress(LeaseLostError):
            held.require()
            held.release()
        raise
    held.release()


class _Seen:
    """The holders of the numbers of a lock, and since when each holds it by our own clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def is_stale(self, number: int, holder: str) -> bool:
        """Whether the holder is dead, or has not changed for EXPIRY seconds."""
        if number not in self._seen or self._seen[number][0] != holder:
            self._seen[number] = holder, time.monotonic()
        return _is_dead(holder) or time.monotonic() - self._seen[number][1] > EXPIRY

    def below(self, number: int) -> list[str]:
        """The holders of all lower numbers, which were stale."""
        return [self._seen[lower][0] for lower in range(number)]


def _take(client: Any, name: str, token: str) -> Held:
    """Create the lowest number of the lock of which all lower ones are stale."""
    end = time.monotonic() + WAIT
    seen, number = _Seen(), 0
    while time.monotonic() < end:
        began = _now()
        if _create(client, name, number, token):
            stale = seen.below(number)
            if _hold(client, name, stale):
                return Held(client, name, [*stale, token], began)
            _delete(client, name, number)
            seen, number = _Seen(), 0
            continue
        holder = _holder(client, name, number)
        if holder is None:  # released in between
            seen, number = _Seen(), 0
        elif seen.is_stale(number, holder):
            number += 1
        else:
            time.sleep(PAUSE)
    reason = f"another process is changing the champion for {WAIT:.0f} s"
    raise RefsrError(f"{reason}; run again when it has ended")


def _hold(client: Any, name: str, holders: list[str]) -> bool:
    """Whether each number of the lock is held by its entry in `holders`."""
    return all(_holder(client, name, number) == each for number, each in enumerate(holders))


def _now() -> float:
    """Seconds of a clock that also runs while the machine sleeps, if there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _numbered(name: str, number: int) -> str:
    return f"{name}.lock-{number}"


def _create(client: Any, name: str, number: int, token: str) -> bool:
    model: Any = None
    with ignored(_TAKEN, MISSING):  # missing: released while the store looked at it
        model = client.create_registered_model(_numbered(name, number), description=token)
    return model is not None


def _holder(client: Any, name: str, number: int) -> str | None:
    model: Any = None
    with ignored(MISSING):
        model = client.get_registered_model(_numbered(name, number))
    return None if model is None else str(model.description)


def _delete(client: Any, name: str, number: int) -> None:
    with ignored(MISSING):
        client.delete_registered_model(_numbered(name, number))


def _is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    try:
        document = json.loads(holder)
        host, pid = str(document["host"]), int(document["pid"])
    except (ValueError, KeyError, TypeError):
        return False
    return host == socket.gethostname() and not is_alive(pid)
