"""Which image a worker process was decoding when it was killed, so that it is not met again on every run.

FOLDER/reading/PID         the image that the process decodes now; empty between images
FOLDER/reading/killed.txt  images at which a process was killed, one to a line

Only a worker whose parent outlives it blames its image: a run that is killed as a whole blames none.
"""

import os
import shutil
import signal
from pathlib import Path
from types import FrameType

_descriptor: int | None = None  # of this process's own file; none where it is no worker


def begin(source: str) -> None:
    """Note the image that this process decodes from now on; "" for none."""
    if _descriptor is not None:
        name = source.encode(errors="surrogateescape")
        os.pwrite(_descriptor, name, 0)
        os.ftruncate(_descriptor, len(name))


class Journal:
    """What the workers of one folder note; it can be pickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "reading"

    def deadly(self) -> frozenset[str]:
        """The images at which a worker was killed in earlier runs."""
        try:
            text = self._killed().read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return frozenset()
        return frozenset(text.splitlines())

    def open(self) -> None:
        """Note in this process, a worker, from now on; ended by SIGTERM it takes back what it noted."""
        global _descriptor
        self._folder.mkdir(exist_ok=True)
        path = self._folder / str(os.getpid())
        _descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

        def end(number: int, frame: FrameType | None) -> None:
            path.unlink(missing_ok=True)
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, end)

    def blame(self) -> list[str]:
        """Keep, and return, the images noted by processes that were killed."""
        texts = [path.read_text(encoding="utf-8", errors="surrogateescape") for path in self._notes()]
        images = sorted(text for text in texts if text)
        if images:
            with self._killed().open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{image}\n" for image in images)
        return images

    def clear(self) -> None:
        """Remove the notes, and all where nothing was ever blamed."""
        for path in self._notes():
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not self._killed().exists():
            shutil.rmtree(self._folder)

    def _notes(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if path.name.isdigit()]

    def _killed(self) -> Path:
        return self._folder / "killed.txt"
