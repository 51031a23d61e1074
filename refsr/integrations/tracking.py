"""Runs in MLflow, the one tracking store: an SQLite file on a laptop, a server for a cluster."""

import contextlib
import hashlib
import json
import os
import platform
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from refsr import log
from refsr.config import Section
from refsr.errors import RefsrError
from refsr.integrations import dead_runs
from refsr.integrations.local_store import (
    artifact_root,
    is_read_only,
    prepare,
    require_expanded,
    require_file,
    store_file,
    way_out,
)
from refsr.integrations.versioning import data_hash, git_revision
from refsr.io.paths import require_folder, require_writable
from refsr.redaction import hide, remember, without_userinfo

EXPERIMENT = "refsr"
FLUSH_COUNT, FLUSH_SECONDS = 200, 5.0  # a write to the store takes tens of milliseconds, so metrics go in batches
PARENT, PIPELINE = "mlflow.parentRunId", "pipeline.run"  # tags
ERROR_LENGTH, PATIENCE = 2000, 5.0  # characters; seconds
_READ_ONLY = "it may not be written to; copy its folder and run there, or set MLFLOW_TRACKING_URI to another"
PORTS = {"postgresql": 5432, "mysql": 3306}  # where databases listen unless the URI says so


class MlflowTracker:
    """The tracker of one open MLflow run (see refsr.tracker.Tracker). Metrics are buffered and sent in batches."""

    def __init__(self, client: Any, uri: str, run_id: str) -> None:
        self.uri = uri
        self.run_id = run_id
        self._client = client
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record named numbers, at a training step or for the run as a whole."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(key, float(value), now, step or 0) for key, value in values.items()]
        if len(self._buffer) >= FLUSH_COUNT or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what metrics are still held back; the store takes at most 1000 at once."""
        pending, self._buffer = self._buffer, []
        for start in range(0, len(pending), 1000):
            self._client.log_batch(self.run_id, metrics=pending[start : start + 1000])
        self._flushed = time.monotonic()

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        """Record a picture, (H, W, 3) uint8 RGB: a frame of `key` at `step`, or `key`.png for the run as a whole."""
        if step is None:
            self._client.log_image(self.run_id, image, artifact_file=f"{key}.png")
        else:
            self._client.log_image(self.run_id, image, key=key, step=step)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file or a whole folder with the run."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        log(self.run_id, str(path), folder or None)

    def tags(self, values: Mapping[str, str]) -> None:
        """Attach searchable facts to the run."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, hide(value)) for key, value in values.items()])

    def params(self, values: Mapping[str, object]) -> None:
        """Record what the run was asked to do."""
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(key, hide(str(value))) for key, value in values.items()])


@contextlib.contextmanager
def start_run(
    tracking_uri: str,
    name: str,
    params: Section,
    inputs: Mapping[str, Path] | None = None,
    pipeline: str | None = None,
    task: str = "",
) -> Iterator[MlflowTracker]:
    """An MLflow run named as the stage, open while the block runs; joins the run MLFLOW_RUN_ID names, if it does.

    With `pipeline` it is a child of that pipeline's run, which is opened where no other stage has done so yet. Runs
    that dead processes left open, and earlier tries of `task` (see refsr.integrations.dead_runs), are closed as KILLED.

    The run ends FINISHED, FAILED (the exception's text is its tag `error`) or KILLED. Raises RefsrError where the store
    cannot be opened, or fails later.
    """
    mlflow = open_store(tracking_uri)
    with explained(tracking_uri):
        client = mlflow.MlflowClient()
        experiment = _experiment(client)
        dead = dead_runs.orphans(client, [experiment], task)
        dead_runs.close(client, dead)
        dead_runs.fail_models(client, dead_runs.unfinished_models(client, [experiment], dead))
        run = mlflow.start_run(run_name=name, experiment_id=experiment, tags=dead_runs.process_tags(task))
        tracker = MlflowTracker(client, tracking_uri, run.info.run_id)
        try:
            tracker.params(_flatten(params.model_dump(mode="json"), name))
            tracker.tags(_facts(name, params, inputs or {}))
            if pipeline:
                tracker.tags({PARENT: _pipeline_run(client, pipeline)})
            yield tracker
            tracker.flush()
        except BaseException as error:
            with contextlib.suppress(mlflow.MlflowException):  # what went wrong first is what is to be told
                tracker.tags({"error": hide(f"{type(error).__name__}: {error}")[:ERROR_LENGTH]})
                tracker.flush()
            with contextlib.suppress(mlflow.MlflowException):
                mlflow.end_run("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        mlflow.end_run()


class LeftOpen(NamedTuple):
    """How much dead processes of this machine left open in a store."""

    runs: int  # that are RUNNING
    models: int  # that are PENDING


def left_open(tracking_uri: str, *, close: bool = False) -> LeftOpen:
    """Count what dead processes left open; with `close` runs are set KILLED and models FAILED.

    Raises RefsrError where the store cannot be opened, or fails.
    """
    client = open_store(tracking_uri).MlflowClient()
    with explained(tracking_uri):
        experiments = [str(each.experiment_id) for each in client.search_experiments()]
        runs = dead_runs.orphans(client, experiments)
        models = dead_runs.unfinished_models(client, experiments, runs)
        if close:
            dead_runs.close(client, runs)
            dead_runs.fail_models(client, models)
    return LeftOpen(len(runs), len(models))


def end_pipeline(tracking_uri: str, pipeline: str, status: str, tags: Mapping[str, str]) -> None:
    """Close the run of a whole pipeline as FINISHED, FAILED or KILLED; one no stage of which ever ran has it too.

    Raises RefsrError where the store cannot be opened, or fails.
    """
    client = open_store(tracking_uri).MlflowClient()
    with explained(tracking_uri):
        run = _pipeline_run(client, pipeline)
        MlflowTracker(client, tracking_uri, run).tags({key: hide(value)[:ERROR_LENGTH] for key, value in tags.items()})
        client.set_terminated(run, status)


def _pipeline_run(client: Any, pipeline: str) -> str:
    """The id of a pipeline's run, opened by the first of its tasks that asks.

    Tasks ask at the same moment: of two that were opened the older counts, and the other is deleted.
    """
    experiment = _experiment(client)
    mine = None
    for _ in range(2):
        found = client.search_runs([experiment], f"tags.`{PIPELINE}` = '{pipeline}'")
        if found:
            oldest: str = min((run.info.start_time, run.info.run_id) for run in found)[1]
            if mine not in (None, oldest):
                client.delete_run(mine)
            return oldest
        mine = client.create_run(experiment, tags={PIPELINE: pipeline}, run_name="pipeline").info.run_id
    raise RefsrError(f"the MLflow run of pipeline {pipeline!r} can be neither found nor made")


def open_store(tracking_uri: str) -> Any:
    """The mlflow module, silent and set to this store. Raises RefsrError at once where the store cannot be reached."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    remember(require_expanded(tracking_uri))
    require_file(tracking_uri)
    _require_answer(tracking_uri)
    with quiet():
        import mlflow

        log.adopt("mlflow", "alembic")
        try:
            opened = prepare(tracking_uri)
            mlflow.set_tracking_uri(opened)
            mlflow.set_registry_uri(opened)
            mlflow.search_experiments(max_results=1)
        except Exception as error:  # a database driver raises what it likes
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            mend = _missing_driver(error) or way_out(tracking_uri)
            raise RefsrError(
                f"tracking store {hide(tracking_uri)}: cannot be opened: {reason}; {mend + '; or ' if mend else ''}"
                "set MLFLOW_TRACKING_URI to a server, http(s)://..., or to a file, sqlite:///mlflow.db"
            ) from error
    return mlflow


def require_store(tracking_uri: str) -> None:
    """Check, without opening it, that a store can be written to.

    Raises:
        RefsrError: No server answers, or the file or folder of a local store is read-only or missing.
    """
    remember(tracking_uri)
    _require_answer(tracking_uri)
    path = store_file(tracking_uri)
    if path is None:
        return
    try:
        require_folder(path.absolute().parent)
        if not path.absolute().parent.is_dir():
            raise RefsrError(f"cannot be opened: {path.absolute().parent}: no such folder; make it, or name another")
        if path.exists() and is_read_only(path):
            raise RefsrError(_READ_ONLY)
        require_writable(path if path.exists() else path.absolute().parent)
    except RefsrError as error:
        raise RefsrError(f"tracking store {hide(tracking_uri)}: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the deprecation warnings of MLflow's own libraries, unless asked for with -v."""
    with warnings.catch_warnings():
        if not log.is_verbose():
            warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Tell a failure of an opened store as a RefsrError that names it."""
    from mlflow import MlflowException

    try:
        yield
    except MlflowException as error:
        path = store_file(tracking_uri)
        if path is not None and path.is_file() and is_read_only(path) and "readonly" in str(error):
            raise RefsrError(f"tracking store {hide(tracking_uri)}: {_READ_ONLY}") from error
        raise RefsrError(f"tracking store {hide(tracking_uri)}: {error.message}") from error


def _require_answer(uri: str) -> None:
    """MLflow tries for minutes to reach a server or database; whether one answers at all is known at once."""
    if urlsplit(uri).scheme not in ("http", "https"):
        _require_database(uri)
        return
    try:
        urlopen(without_userinfo(uri).rstrip("/") + "/health", timeout=PATIENCE).close()  # noqa: S310 - the scheme is known
    except HTTPError:
        return  # whatever it says, it is there
    except (OSError, HTTPException) as error:
        raise RefsrError(
            f"tracking server {hide(uri)}: no answer ({error}); "
            "start it, or set MLFLOW_TRACKING_URI to another (sqlite:///mlflow.db needs no server)"
        ) from error


def _missing_driver(error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return "pip install 'refsr[server]' adds the driver of postgresql+psycopg://"


def _require_database(uri: str) -> None:
    """Raises RefsrError where nobody listens at the host and port of a database's URI."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme.partition("+")[0]]
    except (ValueError, KeyError):
        return  # the driver explains it
    if not host:
        return
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        raise RefsrError(
            f"tracking store {hide(uri)}: no answer ({error}); start the database, or set MLFLOW_TRACKING_URI"
        ) from error


def _experiment(client: Any) -> str:
    """The id of the experiment, made where it is not there yet; another process may do so at the same moment."""
    from mlflow import MlflowException

    for _ in range(2):
        if found := client.get_experiment_by_name(EXPERIMENT):
            return str(found.experiment_id)
        with contextlib.suppress(MlflowException):
            return str(client.create_experiment(EXPERIMENT, artifact_location=_location(client.tracking_uri)))
    raise RefsrError(f"the MLflow experiment {EXPERIMENT!r} can be neither found nor made")


def _location(tracking_uri: str) -> str | None:
    """Where the experiment keeps artifacts: beside a local store; a server decides itself."""
    path = store_file(tracking_uri)
    return None if path is None else str(artifact_root(path) / EXPERIMENT)


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, object]:
    """{"gate": {"x": 1}} -> {"register.gate.x": 1}: the keys of params.yaml, so that stages may share a run."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        flat |= _flatten(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def _facts(name: str, params: Section, inputs: Mapping[str, Path]) -> dict[str, str]:
    """What tells one run from another, and nothing about whose machine it was."""
    commit, dirty = git_revision()
    document = json.dumps(params.model_dump(mode="json"), sort_keys=True)
    facts = {
        "stage": name,
        "params": hashlib.sha256(document.encode()).hexdigest(),
        "git.commit": commit or "unknown",
        "git.dirty": str(dirty).lower(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "cpus": str(os.cpu_count()),
    }
    hashes = {key: data_hash(path) for key, path in inputs.items()}
    return facts | {f"data.{key}": value for key, value in hashes.items() if value}
