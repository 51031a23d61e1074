"""Checksums of inputs, so that an unchanged file is read once and not at the start of each stage.

They lie in $XDG_CACHE_HOME/refsr, or ~/.cache/refsr, a file per folder of inputs. A checksum counts
as long as the file has the same path, device, inode, size, and times of change. It is not kept
where the file was changed in the last seconds: another change might leave the same times. A cache
that is missing, damaged or not writable is not used. A disk that alters bytes by itself goes
unnoticed until the cache is deleted.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from refsr.io import atomic, own_files

FRESH = 3.0  # seconds in which a file that was changed may be changed again unnoticed
Digest = Callable[[Path], Any]


@contextlib.contextmanager
def cached(digest: Digest, folder: Path) -> Iterator[Digest]:
    """`digest` for the files of one folder, which computes what is not known; kept at the end."""
    place = _place(digest, folder)
    known = {} if place is None else _read(place)
    before = dict(known)

    def compute(path: Path) -> Any:
        name, identity = os.path.relpath(path, folder), _identity(path)
        entry = known.get(name)
        if entry is not None and entry[:-1] == identity:
            return entry[-1]
        known.pop(name, None)
        value = digest(path)
        if identity == _identity(path) and _is_settled(identity):
            known[name] = [*identity, value]
        return value

    try:
        yield compute
    finally:
        if place is not None and known != before:
            _write(place, known)


def _identity(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _is_settled(identity: list[int]) -> bool:
    return time.time_ns() - max(identity[3:]) > FRESH * 1e9


def _place(digest: Digest, folder: Path) -> Path | None:
    """The file of a folder's checksums; None where there is no home."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        key = f"{digest.__qualname__} {folder.resolve()}"
    except (OSError, RuntimeError):
        return None
    return Path(root) / "refsr" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(place: Path) -> dict[str, Any]:
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        return dict(document["files"]) if own_files.is_sealed(document) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _write(place: Path, known: dict[str, Any]) -> None:
    text = json.dumps(own_files.seal({"files": known}))
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(place, lambda path: path.write_text(text, encoding="utf-8"))
