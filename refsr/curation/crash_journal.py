"""Which image a process was decoding when it was killed, so that it is not met again on every run.

FOLDER/reading/PID         its first line is the image that a worker process decodes now; empty between images
FOLDER/reading/main        the same of a run that has no workers
FOLDER/reading/NAME.late   where process NAME was when its time for one image ran out; else empty
FOLDER/reading/suspect     the image at which the last run without workers was killed
FOLDER/reading/killed.txt  images to blame, one to a line

Blamed is an image whose time ran out, one at which a worker was killed that its parent outlived, and one
at which a run without workers was killed twice on end. A run killed once, as a whole, blames none.
"""

import contextlib
import faulthandler
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from refsr.io import limits

_MAIN, _LATE = "main", ".late"


class _Note(NamedTuple):
    descriptor: int
    seconds: float


_note: _Note | None = None  # of this process; none where it keeps no journal


def begin(source: str) -> None:
    """Note the image that this process decodes from now on, "" for none, and start its clock."""
    if _note is None:
        return
    os.pwrite(_note.descriptor, f"{source}\n".encode(errors="surrogateescape"), 0)
    # The kernel ends the process, whatever library it hangs in. Processor time is the same on a busy machine.
    signal.setitimer(signal.ITIMER_PROF, _note.seconds if source else 0)


class Blamed(NamedTuple):
    """Images at which processes were killed, and whether it was for their time."""

    images: list[str]
    late: bool


class Journal:
    """What the processes that decode for one folder note; it can be pickled.

    `seconds` of processor time are what a process may take for one image.
    """

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        self._folder = folder / "reading"
        self.seconds = limits.SECONDS if seconds is None else seconds

    def deadly(self) -> frozenset[str]:
        """The images to blame, by earlier runs."""
        try:
            text = self._killed().read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return frozenset()
        return frozenset(text.splitlines())

    def recover(self) -> None:
        """Judge and remove what an earlier run left that was killed as a whole; no process is noting yet."""
        notes = self._notes()
        self._keep([text for name, text in notes.items() if self._is_late(name)])
        image = notes.get(_MAIN, "")
        suspect = self._folder / "suspect"
        if image and image == _text(suspect):
            self._keep([image])
        elif image:
            suspect.write_text(image, encoding="utf-8", errors="surrogateescape")
        self._remove_notes()

    def open(self) -> None:
        """Note in this process, a worker, from now on; ended by SIGTERM it takes back what it noted."""
        self._begin(str(os.getpid()))
        path = self._folder / str(os.getpid())

        def end(number: int, frame: FrameType | None) -> None:
            path.unlink(missing_ok=True)
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, end)

    @contextmanager
    def kept_here(self) -> Iterator[None]:
        """Note in this process meanwhile, which has no workers."""
        late = self._begin(_MAIN)
        try:
            yield
        finally:
            self._end(late)

    def blame(self) -> Blamed:
        """Keep, and return, the images noted by workers that were killed."""
        notes = self._notes()
        images = sorted(set(notes.values()))
        self._keep(images)
        return Blamed(images, any(self._is_late(name) for name in notes))

    def clear(self) -> None:
        """Remove the notes, and all where nothing was ever blamed."""
        if self._folder.is_dir():
            self._remove_notes()
            (self._folder / "suspect").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # where images are blamed it is not empty
                self._folder.rmdir()

    def _begin(self, name: str) -> int:
        """Note under this name; the descriptor of the file that says where time ran out."""
        global _note
        self._folder.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        late = os.open(self._folder / f"{name}{_LATE}", flags, 0o644)
        # Written by the handler itself, in C, while another library runs; then the signal ends the process.
        faulthandler.register(signal.SIGPROF, file=late, all_threads=False, chain=True)
        _note = _Note(os.open(self._folder / name, flags, 0o644), self.seconds)
        return late

    def _end(self, late: int) -> None:
        global _note
        note, _note = _note, None
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
        for descriptor in (late, *([note.descriptor] if note else [])):
            os.close(descriptor)

    def _notes(self) -> dict[str, str]:
        """The image that each process noted, where it noted one."""
        names = [path.name for path in self._folder.glob("*") if path.name.isdigit() or path.name == _MAIN]
        return {name: text for name in names if (text := _text(self._folder / name).partition("\n")[0])}

    def _is_late(self, name: str) -> bool:
        return _text(self._folder / f"{name}{_LATE}") != ""

    def _keep(self, images: list[str]) -> None:
        if images:
            with self._killed().open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{image}\n" for image in images)

    def _remove_notes(self) -> None:
        for path in self._folder.glob("*"):
            if path.name.isdigit() or path.name == _MAIN or path.suffix == _LATE:
                path.unlink(missing_ok=True)

    def _killed(self) -> Path:
        return self._folder / "killed.txt"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
