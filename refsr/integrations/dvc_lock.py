"""Which DVC commands are at work in a repository: DVC's own locks in `.dvc/tmp`, read and left as they are."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROGRAM = re.compile(r"^(\S*python\S*\s+(-m\s+)?)?\S*\bdvc(/__main__\.py)?(?=\s|$)")


class Holder(NamedTuple):
    """A living process of this machine that holds a lock of DVC."""

    pid: int
    command: str  # "dvc repro register"


def busy(folder: Path) -> str:
    """One message about the DVC commands at work in the repository of `folder`; "" where there is none."""
    found = holders(folder)
    if not found:
        return ""
    who = ", ".join(f"process {each.pid} (`{each.command}`)" for each in found)
    pids = " ".join(str(each.pid) for each in found)
    return (
        f"another DVC command is at work in {repository(folder)} and holds DVC's lock: {who}; "
        f"wait for its end, or stop it with `kill {pids}`, then run again"
    )


def repository(folder: Path) -> Path | None:
    """The DVC repository that holds a folder."""
    place = folder.absolute()
    return next((each for each in (place, *place.parents) if (each / ".dvc").is_dir()), None)


def holders(folder: Path) -> list[Holder]:
    """The processes that hold the lock of the repository or of single outputs; a dead one's lock DVC removes itself."""
    top = repository(folder)
    if top is None:
        return []
    locks = top / ".dvc" / "tmp"
    found = {each.pid: each for each in (*_of_repository(locks / "lock"), *_of_outputs(locks / "rwlock"))}
    return [each for pid, each in sorted(found.items()) if pid != os.getpid() and _is_alive(pid)]


def _of_repository(lock: Path) -> Iterator[Holder]:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(OSError, ValueError):
            pid = int(lock.read_text(encoding="utf-8").split()[0])
            yield Holder(pid, _short(_command_line(pid)))
    except OSError:  # no lock was ever taken here, or the disk has none
        return


def _of_outputs(lock: Path) -> Iterator[Holder]:
    try:
        document = json.loads(lock.read_text(encoding="utf-8"))
        writers = list(document.get("write", {}).values())
        readers = [each for some in document.get("read", {}).values() for each in some]
        yield from [Holder(int(each["pid"]), _short(str(each["cmd"]))) for each in (*writers, *readers)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # DVC itself explains a damaged one


def _short(command: str) -> str:
    return _PROGRAM.sub("dvc", command)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "dvc"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
