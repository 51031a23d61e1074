"""Note which image a process decodes, so that one that kills it is rejected by the next run.

FOLDER/reading/PID         its first line is the image a worker decodes now; empty between images
FOLDER/reading/main        the same of a run without workers
FOLDER/reading/NAME.late   written when process NAME exceeded the time for one image; else empty
FOLDER/reading/suspect     the image at which the last run without workers was killed
FOLDER/reading/killed.txt  fatal images, one per line

An image is fatal if its time ran out, if a worker was killed at it whose parent lived on, or if
two runs in sequence without workers were killed at it. A run killed once, as a whole, makes no
image fatal.
"""

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from refsr.io import limits

_MAIN, _LATE = "main", ".late"
_LAST_WORDS = """
import sys
if not sys.stdin.buffer.read():  # the run ended without a word
    image, late = (open(path, errors="surrogateescape").read() for path in sys.argv[1:3])
    image = ascii(image.partition("\\n")[0])[1:-1]
    why = f"{image} took more than {sys.argv[3]} s of processor time"
    if late:
        print(f"refsr: error: {why}; run again: it is left out, extracted features are kept",
              file=sys.stderr)
"""


class _Note(NamedTuple):
    descriptor: int
    seconds: float


_note: _Note | None = None  # of this process; None where it keeps no journal


def begin(source: str) -> None:
    """Note the image this process decodes from now on, "" for none, and start its clock."""
    if _note is None:
        return
    os.pwrite(_note.descriptor, f"{source}\n".encode(errors="surrogateescape"), 0)
    # The kernel ends the process in whatever library it hangs. Processor time does not depend on
    # how busy the machine is.
    signal.setitimer(signal.ITIMER_PROF, _note.seconds if source else 0)


class Blamed(NamedTuple):
    """Images at which processes were killed, and whether their time ran out."""

    images: list[str]
    late: bool


class Journal:
    """The notes of the processes that decode images for one folder; it can be pickled.

    Attributes:
        seconds: Processor time a process may use for one image.
    """

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        self._folder = folder / "reading"
        self.seconds = limits.SECONDS if seconds is None else seconds

    def fatal_images(self) -> frozenset[str]:
        """Sources of the images that earlier runs found to be fatal."""
        path = self._killed()
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return frozenset()
        return frozenset(text.splitlines())

    def recover(self) -> None:
        """Evaluate and remove the notes of a run that was killed; no process may write notes."""
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
        """Keep notes of this process, a worker; SIGTERM removes them and ends it."""
        self._begin(str(os.getpid()))
        path = self._folder / str(os.getpid())

        def end(number: int, frame: FrameType | None) -> None:
            path.unlink(missing_ok=True)
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, end)

    @contextmanager
    def kept_here(self) -> Iterator[None]:
        """Keep notes of this process, which has no workers, during the block."""
        late = self._begin(_MAIN)
        try:
            with self._message_after_death():
                yield
        finally:
            self._end(late)

    @contextmanager
    def _message_after_death(self) -> Iterator[None]:
        """A small process says which image took too long, should its signal end this one."""
        paths = [self._folder / name for name in (_MAIN, f"{_MAIN}{_LATE}")]
        command = [sys.executable, "-I", "-S", "-c", _LAST_WORDS]
        with subprocess.Popen(  # noqa: S603 - our own words
            [*command, *map(str, paths), f"{self.seconds:g}"],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the run
        ) as watcher:
            try:
                yield
            finally:
                watcher.communicate(b"ended")

    def blame(self) -> Blamed:
        """Store and return the images that killed workers had noted."""
        notes = self._notes()
        images = sorted(set(notes.values()))
        self._keep(images)
        return Blamed(images, any(self._is_late(name) for name in notes))

    def clear(self) -> None:
        """Remove the notes, and the folder if no image is fatal."""
        if self._folder.is_dir():
            self._remove_notes()
            (self._folder / "suspect").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty where images are fatal
                self._folder.rmdir()

    def _begin(self, name: str) -> int:
        """Keep notes under this name; returns the descriptor of its .late file."""
        global _note
        self._folder.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        late = os.open(self._folder / f"{name}{_LATE}", flags, 0o644)
        # The handler writes in C, while another library runs; then the signal ends the process.
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
        """The image noted by each process, by the process's name."""
        names = [path.name for path in self._folder.glob("*") if _is_note(path.name)]
        texts = {name: _text(self._folder / name) for name in names}
        images = {name: text.partition("\n")[0] for name, text in texts.items()}
        return {name: image for name, image in images.items() if image}

    def _is_late(self, name: str) -> bool:
        return _text(self._folder / f"{name}{_LATE}") != ""

    def _keep(self, images: list[str]) -> None:
        if not images:
            return
        path = self._killed()
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{image}\n" for image in images)

    def _remove_notes(self) -> None:
        for path in self._folder.glob("*"):
            if _is_note(path.name) or path.suffix == _LATE:
                path.unlink(missing_ok=True)

    def _killed(self) -> Path:
        return self._folder / "killed.txt"


def _is_note(name: str) -> bool:
    return name.isdigit() or name == _MAIN


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
