"""The MLflow run of a training, which goes on where the tracking store does not.

What it reports is written to a journal in the folder of its resume points and sent by a thread. A
training that is resumed goes on with its run.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.integrations import dead_runs
from refsr.integrations.journal import NOTHING, Busy, Journal, Run, open_journal, read_run
from refsr.integrations.mlflow_store import MISSING, explained, ignored, open_store
from refsr.integrations.sender import Sender, send_left
from refsr.integrations.tracking import (
    MlflowTracker,
    end_status,
    error_text,
    experiment_id,
    params_hash,
    record_origin,
)
from refsr.io import atomic
from refsr.redaction import hide

FOLDER = Path("state/tracking")  # in an output that is not finished
# Beside outputs, and on a volume: where ended processes may have left a journal.
_LEFT = ("*.resume/tracking", f"*.partial/{FOLDER}")
_LEFT_ON_VOLUME = f"*/*/{FOLDER}"
_logger = logging.getLogger(__name__)


class JournalTracker:
    """The tracker of a journal (see refsr.tracker.Tracker). Nothing waits for the store."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record named numbers at a training step; those of a step that is known are dropped."""
        self._journal.metrics(values, step)

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        """Record an image, (H, W, 3) uint8 RGB."""
        from PIL import Image

        if not self._journal.has_image(key, step):
            self._journal.image(key, step, Image.fromarray(image).save)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file or a whole folder into the run."""
        copy = functools.partial(atomic.copy, path)
        self._journal.keep(path.name, copy, kind="artifact", folder=folder)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags. Passwords are masked."""
        self._journal.append("tags", values={key: hide(value) for key, value in values.items()})


@contextlib.contextmanager
def start_journaled_run(
    tracking_uri: str,
    name: str,
    params: Section,
    inputs: Mapping[str, Path] | None,
    pipeline: str | None,
    task: str,
    folder: Path,
) -> Iterator[JournalTracker]:
    """Open an MLflow run, or go on with that of the journal in a folder, while the block runs.

    The store must answer where a run begins. Later it may fail: the block goes on, and its end
    waits for no longer than refsr.integrations.sender.PATIENCE. The run ends as with
    `refsr.integrations.tracking.start_run`, whose arguments these are too.

    Args:
        tracking_uri: The store.
        name: The name of the stage.
        params: Its section. Where it has changed, another run begins, which gets the series of the
            one before.
        inputs: Inputs by name.
        pipeline: The id of a pipeline.
        task: The key of this task.
        folder: The output that the stage writes to.

    Yields:
        The tracker of the run.

    Raises:
        RefsrError: A new run cannot be opened.
    """
    journal = open_journal(folder / FOLDER)
    run = Run("", hide(tracking_uri), params_hash(params))
    sender = Sender(journal, tracking_uri)  # MLflow's patience is set from here on
    try:
        if not _goes_on(journal, tracking_uri, run, task):
            before = journal.run
            _begin(journal, tracking_uri, name, params, inputs or {}, pipeline, task)
            if before is not None:
                journal.append("tags", values={"continues": before.run_id})
    except BaseException:
        journal.close()
        raise
    with _sending(journal, sender):
        yield JournalTracker(journal)


@contextlib.contextmanager
def _sending(journal: Journal, sender: Sender) -> Iterator[None]:
    """Send a journal while the block runs, and in the end how it ended."""
    sender.start()
    try:
        yield
    except BaseException as error:
        journal.append("tags", values={"error": error_text(error)})
        journal.append("status", status=end_status(error))
        raise
    else:
        journal.append("status", status="FINISHED")
    finally:
        sender.close()


def _goes_on(journal: Journal, uri: str, run: Run, task: str) -> bool:
    """Go on with the run of the journal, if it is one of these parameters and is not deleted."""
    known = journal.run
    if known is None or known[1:] != run[1:]:
        return False
    try:
        client = open_store(uri).MlflowClient()
        with explained(uri):
            if not _exists(client, known.run_id):
                return False
            left = dead_runs.left_open(client, [experiment_id(client)], task)
            others = [each for each in left.runs if each != known.run_id]
            dead_runs.close(client, left._replace(runs=others))
    except RefsrError as error:
        _logger.warning("%s; goes on without it", str(error).partition("; ")[0])
    journal.append("status", status="RUNNING")
    journal.append("tags", values=dead_runs.process_tags(task))
    _logger.info("goes on with the MLflow run %s", known.run_id)
    return True


def _exists(client: Any, run_id: str) -> bool:
    stage = ""
    with ignored(MISSING):
        stage = str(client.get_run(run_id).info.lifecycle_stage)
    return stage == "active"


def _begin(
    journal: Journal,
    uri: str,
    name: str,
    params: Section,
    inputs: Mapping[str, Path],
    pipeline: str | None,
    task: str,
) -> None:
    """Create a run, or take the one that MLFLOW_RUN_ID names."""
    client = open_store(uri).MlflowClient()
    try:
        send_left(uri, [journal])
    except RefsrError as error:  # the run before may have been deleted
        _logger.warning("%s", error)
    with explained(uri):
        experiment = experiment_id(client)
        dead_runs.close(client, dead_runs.left_open(client, [experiment], task))
        run_id = _run_of_environment(client) or _new_run(client, experiment, name)
        tracker = MlflowTracker(client, uri, run_id)
        tracker.tags(dead_runs.process_tags(task))
        record_origin(tracker, client, name, params, inputs, pipeline)
    journal.restart(Run(run_id, hide(uri), params_hash(params)))


def _new_run(client: Any, experiment: str, name: str) -> str:
    from mlflow.tracking.context.registry import resolve_tags

    tags = resolve_tags(dead_runs.process_tags())
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def _run_of_environment(client: Any) -> str:
    run_id = os.environ.pop("MLFLOW_RUN_ID", "")
    if run_id:
        client.update_run(run_id, "RUNNING")
    return run_id


def has_run(outputs: Iterable[Path], volume: Path | None, stage: str) -> bool:
    """Whether a killed try of a stage may have left its run: then it needs no store to start."""
    folders = [each for path in outputs for each in path.parent.glob(f"{escape(path.name)}.*")]
    journals = [path / FOLDER for path in folders] + [path / FOLDER.name for path in folders]
    if volume is not None:
        journals += volume.glob(f"{stage}-{_LEFT_ON_VOLUME}")
    return any(read_run(journal) for journal in journals)


def deliver_left(uri: str, folders: Iterable[Path], volume: Path | None = None) -> int:
    """Send what ended processes left unsent for this store; returns how many runs were completed.

    Args:
        uri: The store.
        folders: Folders in which outputs lie.
        volume: The volume of unfinished work.
    """
    places = [path for folder in set(folders) for each in _LEFT for path in folder.glob(each)]
    places += volume.glob(_LEFT_ON_VOLUME) if volume else []
    count = 0
    for place in places:
        run = read_run(place)
        if run is not None and run.store == hide(uri):
            count += _deliver(uri, place)
    return count


def _deliver(uri: str, place: Path) -> bool:
    try:
        journal = Journal(place)
    except (Busy, OSError):  # its process lives, or it is not ours to write to
        return False
    try:
        if journal.left() == NOTHING:
            return False
        send_left(uri, [journal])
    except RefsrError as error:
        _logger.warning("%s: not sent: %s", place, error)
        return False
    finally:
        journal.close()
    _logger.info("sent what was left in %s", place)
    return True
