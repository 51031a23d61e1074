"""MLflow runs: one per stage, and one per pipeline above them."""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.integrations import dead_runs
from refsr.integrations.datasets import CONTEXTS, dataset_input
from refsr.integrations.dead_runs import LeftOpen
from refsr.integrations.kubeflow_states import link_to
from refsr.integrations.local_store import artifact_root, store_file
from refsr.integrations.mlflow_store import explained, open_store
from refsr.integrations.versioning import data_hash, git_revision
from refsr.redaction import hide

EXPERIMENT = "refsr"
# A write takes tens of milliseconds, so metrics are sent in batches.
FLUSH_COUNT = 200  # metrics
FLUSH_SECONDS = 5.0
_BATCH = 1000  # metrics that MLflow accepts in one request
PARENT, PIPELINE = "mlflow.parentRunId", "pipeline.run"  # tags
# The experiment is one of models, not of generative AI. MLflow 3.17 goes by an address instead.
KIND, MODELS = "mlflow.experimentKind", "custom_model_development"
ERROR_LENGTH = 2000  # characters


class MlflowTracker:
    """The tracker of one open MLflow run (see refsr.tracker.Tracker).

    Metrics are buffered and sent in batches.
    """

    def __init__(self, client: Any, uri: str, run_id: str) -> None:
        self.uri = uri
        self.run_id = run_id
        self._client = client
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record named numbers at a training step, or for the run as a whole."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for key, value in values.items():
            self._buffer.append(Metric(key, float(value), now, step or 0))
        age = time.monotonic() - self._flushed
        if len(self._buffer) >= FLUSH_COUNT or age > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the buffered metrics."""
        pending, self._buffer = self._buffer, []
        for start in range(0, len(pending), _BATCH):
            batch = pending[start : start + _BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
        self._flushed = time.monotonic()

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        """Record an image, (H, W, 3) uint8 RGB.

        With `step` it is a frame of the series `key`; without, it is the file `key`.png.
        """
        if step is None:
            self._client.log_image(self.run_id, image, artifact_file=f"{key}.png")
        else:
            self._client.log_image(self.run_id, image, key=key, step=step)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file or a whole folder into the run."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        log(self.run_id, str(path), folder or None)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, by which runs can be searched. Passwords are masked."""
        from mlflow.entities import RunTag

        tags = [RunTag(key, hide(value)) for key, value in values.items()]
        self._client.log_batch(self.run_id, tags=tags)

    def dataset(self, curated: Path, context: str) -> None:
        """Record a curated set as an input of the run; `context` says what it is used for."""
        self._client.log_inputs(self.run_id, [dataset_input(curated, context)])

    def others(self, tags: Mapping[str, str]) -> list[dict[str, str]]:
        """The tags of all other runs of the experiment that have these, from first to last."""
        experiment = self._client.get_run(self.run_id).info.experiment_id
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs: list[dict[str, str]] = []
        page = None
        while page != "":
            answer = self._client.search_runs(
                [experiment], query, order_by=["attributes.start_time ASC"], page_token=page
            )
            runs += [run.data.tags for run in answer if run.info.run_id != self.run_id]
            page = answer.token or ""
        return runs

    def params(self, values: Mapping[str, object]) -> None:
        """Record the parameters of the run. Passwords are masked."""
        from mlflow.entities import Param

        params = [Param(key, hide(str(value))) for key, value in values.items()]
        self._client.log_batch(self.run_id, params=params)


@contextlib.contextmanager
def start_run(
    tracking_uri: str,
    name: str,
    params: Section,
    inputs: Mapping[str, Path] | None = None,
    pipeline: str | None = None,
    task: str = "",
) -> Iterator[MlflowTracker]:
    """Open an MLflow run while the block runs.

    The run ends as FINISHED, as FAILED (its tag `error` holds the text of the exception), or as
    KILLED. If MLFLOW_RUN_ID names a run, that run is continued. Runs that dead processes left
    open, and earlier tries of `task`, are closed as KILLED first.

    Args:
        tracking_uri: The store.
        name: The name of the stage, which is the name of the run.
        params: The section of the stage; recorded as `name.key`.
        inputs: Inputs by name; the hash that DVC keeps of each is recorded.
        pipeline: The id of a pipeline, whose run becomes the parent of this one.
        task: The key of this task, see refsr.integrations.dead_runs.task_key; "" without.

    Yields:
        The tracker of the run.

    Raises:
        RefsrError: The store cannot be opened, or fails later.
    """
    mlflow = open_store(tracking_uri)
    with explained(tracking_uri):
        client = mlflow.MlflowClient()
        experiment = experiment_id(client)
        dead_runs.close(client, dead_runs.left_open(client, [experiment], task))
        tags = dead_runs.process_tags(task)
        run = mlflow.start_run(run_name=name, experiment_id=experiment, tags=tags)
        tracker = MlflowTracker(client, tracking_uri, run.info.run_id)
        with _ended(mlflow, tracker):
            record_origin(tracker, client, name, params, inputs or {}, pipeline)
            yield tracker


def record_origin(
    tracker: MlflowTracker,
    client: Any,
    name: str,
    params: Section,
    inputs: Mapping[str, Path],
    pipeline: str | None,
) -> None:
    """Record what a run was started with; the arguments are those of `start_run`."""
    tracker.params(_flatten(params.model_dump(mode="json"), name))
    tracker.tags(_facts(name, params, inputs))
    if name in CONTEXTS and "curated" in inputs:
        tracker.dataset(inputs["curated"], CONTEXTS[name])
    if pipeline:
        tracker.tags({PARENT: pipeline_run(client, pipeline)})


@contextlib.contextmanager
def _ended(mlflow: Any, tracker: MlflowTracker) -> Iterator[None]:
    """End the run after the block, with the status that the block's exception asks for."""
    try:
        yield
        tracker.flush()
    except BaseException as error:
        with contextlib.suppress(mlflow.MlflowException):  # report the first error, not this one
            tracker.tags({"error": error_text(error)})
            tracker.flush()
        with contextlib.suppress(mlflow.MlflowException):
            mlflow.end_run(end_status(error))
        raise
    mlflow.end_run()


def error_text(error: BaseException) -> str:
    """The tag `error` of a run that an exception ended."""
    return hide(f"{type(error).__name__}: {error}")[:ERROR_LENGTH]


def end_status(error: BaseException) -> str:
    """The status of a run that an exception ended."""
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def left_open(tracking_uri: str, *, close: bool = False) -> LeftOpen:
    """Find the runs and models that dead processes of this machine left open.

    With `close`, runs are set to KILLED and models to FAILED.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    client = open_store(tracking_uri).MlflowClient()
    with explained(tracking_uri):
        experiments = [str(each.experiment_id) for each in client.search_experiments()]
        left = dead_runs.left_open(client, experiments)
        if close:
            dead_runs.close(client, left)
    return left


def pipeline_run(client: Any, pipeline: str) -> str:
    """The id of a pipeline's run, created by the first task that asks for it.

    Two tasks may create one at the same moment: the older counts, and the other is deleted.
    """
    experiment = experiment_id(client)
    created = None
    for _ in range(2):
        runs = client.search_runs([experiment], f"tags.`{PIPELINE}` = '{pipeline}'")
        if runs:
            oldest: str = min((run.info.start_time, run.info.run_id) for run in runs)[1]
            if created not in (None, oldest):
                client.delete_run(created)
            return oldest
        tags = {PIPELINE: pipeline} | link_to(pipeline)
        created = client.create_run(experiment, tags=tags, run_name="pipeline").info.run_id
    raise RefsrError(f"the MLflow run of pipeline {pipeline!r} cannot be read or created")


def experiment_id(client: Any) -> str:
    """The id of the experiment, which is created if need be.

    Another process may create it at the same moment.
    """
    from mlflow import MlflowException

    for _ in range(2):
        if experiment := client.get_experiment_by_name(EXPERIMENT):
            if KIND not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, KIND, MODELS)
            return str(experiment.experiment_id)
        location = _location(client.tracking_uri)
        with contextlib.suppress(MlflowException):
            create = client.create_experiment
            return str(create(EXPERIMENT, artifact_location=location, tags={KIND: MODELS}))
    raise RefsrError(f"the MLflow experiment {EXPERIMENT!r} cannot be read or created")


def _location(tracking_uri: str) -> str | None:
    """The folder of the artifacts: beside a local store; None where a server decides."""
    path = store_file(tracking_uri)
    return None if path is None else str(artifact_root(path) / EXPERIMENT)


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, object]:
    """{"gate": {"x": 1}} -> {"register.gate.x": 1}, so that stages may share a run."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        flat |= _flatten(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def params_hash(params: Section) -> str:
    """A hash of all parameters of a section."""
    document = json.dumps(params.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def _facts(name: str, params: Section, inputs: Mapping[str, Path]) -> dict[str, str]:
    """The tags that distinguish runs; they hold nothing about the user or the machine's name."""
    commit, dirty = git_revision()
    facts = {
        "stage": name,
        "params": params_hash(params),
        "git.commit": commit or "unknown",
        "git.dirty": str(dirty).lower(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "cpus": str(os.cpu_count()),
    }
    hashes = {key: data_hash(path) for key, path in inputs.items()}
    return facts | {f"data.{key}": value for key, value in hashes.items() if value}
