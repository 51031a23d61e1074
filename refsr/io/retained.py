"""Keep what a finished stage can be taken up from, after its output is in place.

`finished.json` in a folder says which work it is of, and by which code. A training that gets more
steps goes on from it; so does a retry whose output was lost before the pipeline recorded it.
"""

import hashlib
import json
import logging
import time
from functools import cache
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.io import atomic
from refsr.io.lock import Lock

FINISHED = "finished.json"
STATE = "state"  # a folder in an output: kept beside it as NAME.resume
_HOUR = 3600.0
_AGES = {True: 7 * 24 * _HOUR, False: _HOUR}  # seconds until a volume drops a training, other work
_logger = logging.getLogger(__name__)


def finish(output: Path, stage: str, fingerprint: str, steps: int) -> None:
    """Mark the state in a finished output, if it has one."""
    if (output / STATE).is_dir():
        _write(output / STATE, stage, fingerprint, steps)


def finish_on_volume(work: Path, stage: str, fingerprint: str, steps: int) -> None:
    """Mark finished work; of a training the state alone stays.

    It is not deleted: the output is safe only when the pipeline has uploaded it.
    """
    finished = [path.parent for path in work.glob(f"*/{STATE}/{FINISHED}")]
    for state in finished:
        for path in state.parent.iterdir():
            if path != state:
                atomic.remove(path)
    if not finished:
        _write(work, stage, fingerprint, steps)


def _write(folder: Path, stage: str, fingerprint: str, steps: int) -> None:
    facts = {"refsr": "finished", "stage": stage, "fingerprint": fingerprint}
    document = facts | {"code": code_digest(), "steps": steps}
    atomic.write_file(folder / FINISHED, lambda path: path.write_text(json.dumps(document)))


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` wrote; None where there is no such file, or not one of refsr."""
    try:
        document = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(document, dict) and document.get("refsr") == "finished"
    return document if ours else None


def take_up(folder: Path, steps: int) -> None:
    """Decide about a folder from which a stage of so many steps starts.

    It stays where there are more steps to do, or where the same code would do the same again.
    """
    facts = read(folder)
    if facts is None:
        return
    if steps > facts["steps"] or facts["code"] == code_digest():
        _logger.info("goes on from finished work in %s", folder)
        (folder / FINISHED).unlink()
    else:
        _logger.info("starts anew: the code has changed since it finished")
        atomic.remove(folder)
        folder.mkdir()


def clean_volume(volume: Path) -> None:
    """Delete finished work of a volume once a retry is no longer to be expected."""
    for finished in [*volume.glob(f"*/{FINISHED}"), *volume.glob(f"*/*/{STATE}/{FINISHED}")]:
        is_training = finished.parent.name == STATE
        if time.time() - finished.stat().st_mtime < _AGES[is_training]:
            continue
        work = volume / finished.relative_to(volume).parts[0]
        lock = Lock(work.with_name(f"{work.name}.partial-key"))
        try:
            lock.take(str(work))
        except RefsrError:  # it is in use
            continue
        atomic.remove(work)
        lock.release(keep=False)


@cache
def code_digest() -> str:
    """A hash of all code of this package."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]
