"""The task of a training on several nodes: it creates a TrainJob and waits for its end.

The environment of the task holds the TrainJob of components.trainjob.spec as JSON. The task adds
the name and the folder on the state volume, which belong to the run. It copies its inputs to that
folder; the nodes run components.trainjob.entrypoint and write their outputs there.

The job's name is derived from the run, so a retried task finds the job of the attempt before. A
running job is waited for, a failed one is deleted and created again. A stopped task deletes its
job.
"""

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.trainjob.api import TrainJobApi
from components.trainjob.request import REQUEST, new_request
from refsr import steps
from refsr.config import Section
from refsr.errors import RefsrError
from refsr.io.atomic import remove
from refsr.io.marker import require_whole
from refsr.io.own_files import damaged, read_json

TRAINJOB = "REFSR_TRAINJOB"  # variable: the job as JSON
NAMESPACE = "REFSR_NAMESPACE"  # variable: the job's namespace
RESULT = "metrics.json"  # file the nodes write last
ERROR = "error.txt"  # file the nodes write on failure
POLL = 10.0  # seconds between two requests for the job's status
VOLUME_DELAY = 90.0  # seconds until a network volume shows what another node wrote
_logger = logging.getLogger(__name__)


def run(
    name: str,
    params: Section,
    *,
    tracking_uri: str,
    state: Path | None,
    pipeline: str | None,
    **paths: Path,
) -> dict[str, float]:
    """Run a stage as refsr.steps.run does, on the nodes of a TrainJob.

    Args:
        name: the stage.
        params: its section of the params file.
        tracking_uri: MLflow store.
        state: folder of the volume that all nodes mount.
        pipeline: id of the run.
        paths: inputs and outputs by name.

    Returns:
        The stage's metrics.

    Raises:
        RefsrError: with the job's reason if it failed, and if no job can be created.
    """
    if state is None or pipeline is None:
        raise RefsrError(
            f"{name}: a training on several nodes needs a volume and the run's id; "
            "set `state` in the cluster file and submit with `python -m pipelines submit`"
        )
    folder = state / job_name(name, pipeline)
    request = new_request(folder, name, params, tracking_uri, pipeline, paths)
    return _run_request(request, folder, paths)


def _run_request(
    request: dict[str, Any], folder: Path, paths: Mapping[str, Path]
) -> dict[str, float]:
    job = Job(folder.name)
    ports = steps.ports(steps.load(request["stage"]))
    outputs = {key: path for key, path in paths.items() if ports.get(key, "").endswith("output")}
    if not _read_result(folder):  # else an earlier attempt has waited for the end
        _discard_damaged(job, folder)
        _copy_inputs(folder, {key: path for key, path in paths.items() if key not in outputs})
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        _train(job, folder)
    metrics = _read_result(folder)
    if not metrics:
        raise damaged(folder / RESULT, request["stage"], "no metrics in it")
    job.delete()
    _collect(folder, outputs)
    return metrics


def _discard_damaged(job: "Job", folder: Path) -> None:
    """Remove a damaged result and its job, so that the training runs again."""
    if os.path.lexists(folder / RESULT):
        remove(folder / RESULT)
        job.delete()


def _collect(folder: Path, outputs: Mapping[str, Path]) -> None:
    """Copy the outputs off the volume and remove the folder there."""
    for key, path in outputs.items():
        require_whole(folder / key)
        shutil.copytree(folder / key, path, dirs_exist_ok=True)
    shutil.rmtree(folder)


def _read_result(folder: Path) -> dict[str, float]:
    """The metrics of a training that has ended; {} if there are none, or the file is damaged."""
    try:
        metrics: dict[str, float] = read_json(folder / RESULT, "")
    except RefsrError:
        return {}
    values = metrics.values()
    is_sound = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    return metrics if is_sound else {}


def job_name(stage: str, pipeline: str) -> str:
    """The job's name; with the suffixes of its pods it has no more than 63 characters."""
    run_id = re.sub(r"[^a-z0-9]+", "-", pipeline.lower())[:20].strip("-")
    return f"{stage.replace('_', '-')}-{run_id}"


def _copy_inputs(folder: Path, inputs: Mapping[str, Path]) -> None:
    """Copy the inputs to the volume; copies of an earlier attempt stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, path in inputs.items():
        partial = folder / f"{key}.copy"
        if not (folder / key).exists():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(path, partial)
            partial.rename(folder / key)


def _train(job: "Job", folder: Path) -> None:
    """Wait for the end of the job, and until the volume shows its result."""
    try:
        job.ensure(folder)
        state, message = job.watch()
    except KeyboardInterrupt:  # SIGTERM
        _logger.warning("%s: the task was stopped; deleting the job", job)
        job.delete()
        raise
    if state == "Failed":
        raise RefsrError(
            f"{job} failed: {message}; its pods are kept until the next attempt"
            f"{_training_error(folder)}"
        )
    _await_result(job, folder)


def _await_result(job: "Job", folder: Path) -> None:
    end = time.monotonic() + VOLUME_DELAY
    while not (folder / RESULT).exists():
        if time.monotonic() > end:
            raise RefsrError(
                f"{job} is complete, but {folder / RESULT} does not exist; "
                "check that the volume is ReadWriteMany"
            )
        time.sleep(1)


def _training_error(folder: Path) -> str:
    """The training's own message, on a line of its own."""
    file = folder / ERROR
    return f"\ntraining error: {file.read_text(encoding='utf-8')}" if file.exists() else ""


class Job:
    """A TrainJob in this task's namespace. Methods raise RefsrError if the API refuses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = os.environ[NAMESPACE]
        self._api = TrainJobApi(self.namespace, name)

    def __str__(self) -> str:
        return str(self._api)

    def ensure(self, folder: Path) -> None:
        """Create the job unless an earlier attempt has created it and it has not failed."""
        job = self._api.get()
        if job and (_state(job)[0] == "Failed" or _is_ending(job)):
            _logger.warning("%s: deleting the job of an earlier attempt", self)
            self.delete()
            while job:
                time.sleep(1)
                job = self._api.get()
        if job:
            _logger.info("%s: created by an earlier attempt", self)
            return
        (folder / ERROR).unlink(missing_ok=True)
        self._create(folder)

    def watch(self) -> tuple[str, str]:
        """Wait until the job is Complete or Failed: that state, and its reason.

        Each change of state is logged. The request is repeated if the API does not respond,
        since the job does not depend on it.
        """
        shown = ""
        while True:
            state, message = self._poll()
            line = f"{self}: {state}: {message}"
            if line != shown:
                _logger.info("%s", line)
                shown = line
            if state in ("Complete", "Failed"):
                return state, message
            time.sleep(POLL)

    def _poll(self) -> tuple[str, str]:
        try:
            job = self._api.get()
        except RefsrError as error:
            return "Unknown", f"{error}; retrying"
        if job is None or _is_ending(job):
            raise RefsrError(f"{self} was deleted while the task waited for it; run again")
        return _state(job)

    def delete(self) -> None:
        """Delete the job and its pods; a missing job is no error."""
        self._api.delete()

    def _create(self, folder: Path) -> None:
        body = json.loads(os.environ[TRAINJOB])
        metadata = {"name": self.name, "namespace": self.namespace}
        body["metadata"] = body.get("metadata", {}) | metadata
        body["spec"]["trainer"]["args"] = [str(folder)]
        self._api.create(body)
        nodes = body["spec"]["trainer"]["numNodes"]
        label = f"jobset.sigs.k8s.io/jobset-name={self.name}"
        logs = f"kubectl -n {self.namespace} logs -f -l {label}"
        _logger.info("%s: created, %d nodes; metrics: MLflow, logs: %s", self, nodes, logs)


def _is_ending(job: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in job["metadata"]


def _state(job: Mapping[str, Any]) -> tuple[str, str]:
    """A TrainJob's state in one word, and a message.

    Its conditions report an end or a suspension, `jobsStatus` the Jobs it consists of: a Job is
    `active` if it has a pod that is not ready yet, and `ready` if all its pods are.
    """
    status = job.get("status") or {}
    conditions = {
        each["type"]: f"{each.get('reason', '')}: {each.get('message', '')}"
        for each in status.get("conditions", [])
        if each["status"] == "True"
    }
    for state in ("Failed", "Complete", "Suspended"):
        if state in conditions:
            return state, conditions[state]
    jobs = status.get("jobsStatus", [])
    if not any(each["active"] or each["ready"] for each in jobs):
        return "Created", "no pods yet"
    if not all(each["ready"] for each in jobs):
        return "Starting", "pods wait for nodes, GPUs, the volume or the image"
    return "Running", "all pods are ready"
