"""A journal of what a run reports: each event is in a file before anything is sent.

`events.jsonl` holds an event per line, `sent` the length of its part that the store has, `run.json`
the run, `files` the pictures and artifacts. A process that goes on with the run goes on with the
journal: what it reports again is dropped.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from refsr.io import atomic

RUN = "run.json"
_EVENTS, _SENT, _FILES, _LOCK = "events.jsonl", "sent", "files", "lock"
_FACTS = "event.json"  # of a kept file
NOTHING = (0, 0)  # left
Event = dict[str, Any]
_logger = logging.getLogger(__name__)


class Busy(Exception):  # noqa: N818 - a state, not a fault
    """Another process has the journal open."""


class Run(NamedTuple):
    """The run of a journal: its id, its store without password, and a hash of its parameters."""

    run_id: str
    store: str
    params: str


class Journal:
    """The journal of a folder, locked until `close`. Raises Busy where another process has it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise Busy(str(folder)) from error
        except OSError:  # a volume without locks: continue without one
            pass
        self._events = os.open(folder / _EVENTS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._cut_torn_line()
        self._last = self._last_steps()

    def close(self) -> None:
        """Release the journal."""
        os.close(self._events)
        os.close(self._lock)

    @property
    def run(self) -> Run | None:
        """The run that is reported; None before `restart`."""
        return read_run(self.folder)

    def restart(self, run: Run) -> None:
        """Begin a new run; the events of another one are deleted."""
        (self.folder / RUN).unlink(missing_ok=True)
        os.ftruncate(self._events, 0)
        (self.folder / _SENT).unlink(missing_ok=True)
        atomic.remove(self.folder / _FILES)
        self._last = {}
        text = json.dumps(run._asdict())
        atomic.write_file(self.folder / RUN, lambda path: path.write_text(text))

    def append(self, kind: str, **facts: object) -> None:
        """Write an event."""
        event = {"kind": kind, "time": int(time.time() * 1000)} | facts
        os.write(self._events, json.dumps(event).encode() + b"\n")

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """Write numbers, except those of a step that the journal has.

        Without a step, only what is no series is written: the last of a series is known.
        """
        new = {
            key: float(value)
            for key, value in values.items()
            if (key not in self._last if step is None else step > self._last.get(key, -1))
        }
        if not new:
            return
        self.append("metrics", values=new, step=step or 0)
        self._last |= dict.fromkeys(new, step or 0)

    def has_image(self, key: str, step: int | None) -> bool:
        """Whether the picture of a step is known."""
        return step is not None and step <= self._last.get(f"picture {key}", -1)

    def image(self, key: str, step: int | None, write: Callable[[Path], object]) -> None:
        """Keep a picture."""
        self.keep(f"{key}.png", write, kind="image", key=key, step=step)
        self.append("image", key=key, step=step)
        if step is not None:
            self._last[f"picture {key}"] = step

    def keep(self, name: str, write: Callable[[Path], object], **facts: object) -> None:
        """Keep a file, or a folder, beside the events: it may have to wait for another server."""
        place = self.folder / _FILES / f"{time.time_ns()}"
        place.mkdir(parents=True)
        write(place / name.replace("/", "-"))
        event = {"time": int(time.time() * 1000), "name": name.replace("/", "-")} | facts
        atomic.write_file(place / _FACTS, lambda path: path.write_text(json.dumps(event)))

    def kept(self) -> list[Event]:
        """What is kept, the oldest first; `path` is where it lies."""
        files = sorted((self.folder / _FILES).glob(f"*/{_FACTS}"))
        events = [(_parsed(facts.read_bytes()), facts.parent) for facts in files]
        return [each | {"path": str(place / each["name"])} for each, place in events if each]

    def drop(self, event: Event) -> None:
        """Delete what was kept, once the store has it."""
        atomic.remove(Path(event["path"]).parent)

    def sync(self) -> None:
        """Flush the events to the disk: what is sent may not be lost here."""
        os.fsync(self._events)

    def unsent(self) -> Iterator[tuple[Event, int]]:
        """Each event that is not marked as sent, with the place where it ends."""
        end = min(self._sent(), os.fstat(self._events).st_size)
        with (self.folder / _EVENTS).open("rb") as file:
            file.seek(end)
            for line in file:
                end += len(line)
                yield _parsed(line) or {"kind": ""}, end

    def mark_sent(self, end: int) -> None:
        """Remember that the store has all events up to a place."""
        new = self.folder / f"{_SENT}.new"
        new.write_text(str(end))
        new.replace(self.folder / _SENT)

    def left(self) -> tuple[int, int]:
        """How many bytes of events, and how many files, the store has not got."""
        size = (self.folder / _EVENTS).stat().st_size
        return max(0, size - self._sent()), len(self.kept())

    def _sent(self) -> int:
        """The length of the part that the store has."""
        try:
            return int((self.folder / _SENT).read_text())
        except (OSError, ValueError):
            return 0

    def _cut_torn_line(self) -> None:
        data = (self.folder / _EVENTS).read_bytes()
        os.ftruncate(self._events, data.rfind(b"\n") + 1)

    def _last_steps(self) -> dict[str, int]:
        """The last step of each series."""
        last: dict[str, int] = {}
        with (self.folder / _EVENTS).open("rb") as file:
            for event in filter(None, map(_parsed, file)):
                if event["kind"] == "metrics":
                    last |= dict.fromkeys(event["values"], event["step"])
                if event["kind"] == "image" and event["step"] is not None:
                    last[f"picture {event['key']}"] = event["step"]
        return last


def open_journal(folder: Path) -> Journal:
    """The journal of a folder; one that is damaged is deleted, and begins anew.

    Raises:
        Busy: Another process has it open.
    """
    try:
        return Journal(folder)
    except Busy:
        raise
    except Exception as error:  # whatever is in its files
        _logger.warning("%s: damaged (%s); begins anew", folder, error)
        atomic.remove(folder)
        return Journal(folder)


def _parsed(line: bytes) -> Event | None:
    """The event of a line; None where it is damaged."""
    try:
        event = json.loads(line)
        return event if {"kind", "time"} <= event.keys() else None
    except (ValueError, AttributeError, RecursionError):
        return None


def read_run(folder: Path) -> Run | None:
    """The run of the journal in a folder; None where there is none."""
    try:
        return Run(**json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
