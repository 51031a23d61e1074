"""Which DVC commands are running in a repository, read from DVC's own locks in `.dvc/tmp`."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from refsr.integrations.processes import is_alive

_PROGRAM = re.compile(r"^(\S*python\S*\s+(-m\s+)?)?\S*\bdvc(/__main__\.py)?(?=\s|$)")


class Holder(NamedTuple):
    """A living process of this machine that holds a lock of DVC."""

    pid: int
    command: str  # "dvc repro register"


def busy(folder: Path) -> str:
    """A message about the DVC commands running in the repository of `folder`; "" if none is."""
    running = holders(folder)
    if not running:
        return ""
    commands = ", ".join(f"process {each.pid} (`{each.command}`)" for each in running)
    pids = " ".join(str(each.pid) for each in running)
    return (
        f"another DVC command is running in {repository(folder)} and holds DVC's lock: {commands}; "
        f"wait for its end, or stop it with `kill {pids}`, then run again"
    )


def repository(folder: Path) -> Path | None:
    """The DVC repository that contains a folder."""
    path = folder.absolute()
    parents = (path, *path.parents)
    return next((each for each in parents if (each / ".dvc").is_dir()), None)


def holders(folder: Path) -> list[Holder]:
    """The living processes that hold the lock of the repository or of an output, by id.

    DVC itself removes the locks of dead processes.
    """
    top = repository(folder)
    if top is None:
        return []
    locks = top / ".dvc" / "tmp"
    named = [*_of_repository(locks / "lock"), *_of_outputs(locks / "rwlock")]
    by_pid = {each.pid: each for each in named if each.pid != os.getpid()}
    return [each for pid, each in sorted(by_pid.items()) if is_alive(pid)]


def _of_repository(lock: Path) -> Iterator[Holder]:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(OSError, ValueError):
            pid = int(lock.read_text(encoding="utf-8").split()[0])
            yield Holder(pid, _short(_command_line(pid)))
    except OSError:  # never locked, or the disk has no locks
        return


def _of_outputs(lock: Path) -> Iterator[Holder]:
    try:
        document = json.loads(lock.read_text(encoding="utf-8"))
        writers = list(document.get("write", {}).values())
        readers = [each for some in document.get("read", {}).values() for each in some]
        for each in (*writers, *readers):
            yield Holder(int(each["pid"]), _short(str(each["cmd"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # DVC itself reports a damaged file


def _short(command: str) -> str:
    return _PROGRAM.sub("dvc", command)


def _command_line(pid: int) -> str:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "dvc"
    return arguments.replace(b"\0", b" ").decode(errors="replace").strip()
