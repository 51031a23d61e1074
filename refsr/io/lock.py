"""Lock an output: the file `NAME.partial-key` beside it is locked while its writer lives.

The file also shows that refsr wrote `NAME.partial`; without it a folder of that name is the user's.
"""

import fcntl
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError


class Lock:
    """The lock of one key file, held from `take` to `release` or the end of the process."""

    def __init__(self, key: Path) -> None:
        self.key = key
        self._handle = -1

    def take(self, what: str) -> dict[str, Any]:
        """Lock the key file, which is created if missing; returns what its last holder wrote.

        Args:
            what: What is locked, for the message.

        Raises:
            RefsrError: Another process holds the lock, or the file is not ours.
        """
        while True:
            handle = os.open(self.key, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(handle)
                way_out = "wait until it ends, or name another folder"
                message = f"{what}: {_holder(self.key)} is writing it; {way_out}"
                raise RefsrError(message) from error
            except OSError:  # a volume without locks: continue without one
                pass
            if _same(handle, self.key):  # else its holder has just deleted it
                self._handle = handle
                break
            os.close(handle)
        known = read_key(self.key)
        if known is None and os.fstat(self._handle).st_size:
            os.close(self._handle)
            raise RefsrError(f"{self.key}: not a file of refsr; move it, or name another output")
        return known or {}

    def write(self, stage: str, fingerprint: str) -> None:
        """Write into the key file who holds it, and for which work."""
        facts = {
            "refsr": "scratch",
            "stage": stage,
            "fingerprint": fingerprint,
            "pid": str(os.getpid()),
            "host": socket.gethostname(),
        }
        data = json.dumps(facts).encode()
        os.pwrite(self._handle, data, 0)
        os.ftruncate(self._handle, len(data))

    def release(self, *, keep: bool) -> None:
        """Release the lock; with `keep` the key file stays, beside unfinished work."""
        if self._handle < 0:
            return
        if not keep:
            self.key.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = -1


def read_key(key: Path) -> dict[str, Any] | None:
    """The content of a key file; None where it is missing, or not ours."""
    try:
        text = key.read_text(encoding="utf-8")
        if re.fullmatch(r"[0-9a-f]{64}", text):  # as version 0.1 wrote it
            return {"refsr": "scratch", "fingerprint": text}
        document = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(document, dict) and document.get("refsr") == "scratch"
    return document if ours else None


def _holder(key: Path) -> str:
    """The process that holds a lock, in words."""
    facts = read_key(key) or {}
    pid, host, stage = (facts.get(name, "?") for name in ("pid", "host", "stage"))
    return f"process {pid} on {host} ({stage})"


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
