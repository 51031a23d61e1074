"""Start a stage: its stores, what earlier runs left, and its tracked run."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refsr.config import Section, Training
from refsr.io import atomic, retained
from refsr.io.paths import file_errors_as_messages, require_folder, require_writable


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
