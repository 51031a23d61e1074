"""Start a stage: its stores, what earlier runs left, and its tracked run."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refsr.config import Section, Training
from refsr.io import atomic, retained
from refsr.io.output import Output
from refsr.io.paths import file_errors_as_messages, require_folder, require_writable


class Work(NamedTuple):
    """One run of a stage: all that it is given, checked."""

    name: str
    params: Section
    kinds: Mapping[str, str]  # of its ports
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    outputs: Mapping[str, Output]
    fingerprint: str  # "" where nothing of a killed run is kept
    kept: Path | None  # the folder on a volume that keeps it, where there is one

    def scratch(self) -> dict[str, Path]:
        """Where each output is written until it is whole."""
        return {
            key: self.kept / out.place.name if self.kept and self._resumes(key) else out.partial
            for key, out in self.outputs.items()
        }

    def vouched(self) -> dict[str, str]:
        """The fingerprint for each output that may go on from its own scratch, "" for others."""
        return {
            key: self.fingerprint if self._resumes(key) and not self.kept else ""
            for key in self.outputs
        }

    def _resumes(self, key: str) -> bool:
        return self.kinds[key] == "resumable output"


def require_stores(
    name: str,
    params: Section,
    places: Sequence[Path],
    state: Path | None,
    tracking_uri: str,
) -> None:
    """Check the volume of unfinished work, and the tracking store unless a run of it is left."""
    from refsr.integrations.journaled_run import has_run
    from refsr.integrations.mlflow_store import require_store

    with file_errors_as_messages(f"{name}: "):
        if state:
            require_folder(state)
            require_writable(state)
        if not (isinstance(params, Training) and has_run(places, state, name)):
            require_store(tracking_uri)


def take_up(params: Section, kept: Path | None, scratch: Mapping[str, Path]) -> None:
    """Start from what earlier runs left in the folders that are written to."""
    volume = [kept] if kept else []
    for folder in (*volume, *(path / retained.STATE for path in scratch.values())):
        retained.take_up(folder, steps_of(params))
    for folder in scratch.values():
        atomic.remove_half_written(folder)


def steps_of(params: Section) -> int:
    """The steps of a training; 0 of another stage."""
    return params.steps if isinstance(params, Training) else 0


def starter(params: Section, scratch: Mapping[str, Path]) -> Any:
    """What opens the tracked run: that of a training goes on where the store does not."""
    from refsr.integrations.journaled_run import start_journaled_run
    from refsr.integrations.tracking import start_run

    if not isinstance(params, Training):
        return start_run
    return functools.partial(start_journaled_run, folder=next(iter(scratch.values())))
