"""A stage on several nodes: its task lays the inputs on the volume, has Kubeflow Trainer run a TrainJob, and waits.

The TrainJob stands in the task's environment as pipelines.trainjob_spec made it, but for its name and its folder on the
volume, which belong to the run. Its nodes run components.trainjob.entrypoint; both sides exchange files in that folder.

The name is the run's, so that a task tried again finds the job of the try before: it goes on waiting for one that
runs, and makes one that failed anew. A task that is stopped deletes its job.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from refsr import steps
from refsr.config import Section
from refsr.errors import RefsrError

TRAINJOB, NAMESPACE = "REFSR_TRAINJOB", "REFSR_NAMESPACE"  # variables: the job as JSON, and where it is to be
ORDER, NUMBERS, ERROR = "order.json", "numbers.json", "error.txt"  # what the nodes read, and what they leave
JOBS: dict[str, Any] = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
JOBS |= {"_request_timeout": 30.0}
EVERY = 10.0  # seconds between two looks at the job
LATE = 90.0  # seconds after which a network volume must show what another node wrote there
_logger = logging.getLogger(__name__)
WAYS_OUT = {  # by HTTP status: what can be done where the API refuses
    400: "the Trainer of this cluster knows other fields; 2.2 or later is needed (docs/how-to/kubeflow.md)",
    401: "the task's service account is not known here",
    403: "let the task's service account create, get and delete TrainJobs, as k8s/base/accounts.yaml does",
    404: "Kubeflow Trainer is not installed here, or the namespace is not there",
}


def run(
    name: str, params: Section, *, tracking_uri: str, state: Path | None, pipeline: str | None, **paths: Path
) -> dict[str, float]:
    """What refsr.steps.run does, done by the nodes of a TrainJob; `state` is the volume that all of them mount.

    Raises RefsrError with the job's own reason where it failed, and where none can be made.
    """
    if state is None or pipeline is None:
        raise RefsrError(f"{name}: on several nodes a task needs a volume and the id of its run in its environment")
    job = Job(job_name(name, pipeline))
    folder = state / job.name
    kinds = steps.ports(steps.load(name))
    outputs = [key for key, kind in kinds.items() if kind.endswith("output")]
    if not (folder / NUMBERS).exists():  # else a try before this one has waited to the end
        _lay_out(folder, {key: path for key, path in paths.items() if key not in outputs})
        order = {"stage": name, "params": params.model_dump(mode="json"), "tracking_uri": tracking_uri}
        order |= {"state": str(state), "pipeline": pipeline, "paths": {key: str(folder / key) for key in paths}}
        (folder / ORDER).write_text(json.dumps(order), encoding="utf-8")
        _train(job, folder)
    job.delete()
    for key in outputs:
        shutil.copytree(folder / key, paths[key], dirs_exist_ok=True)
    numbers: dict[str, float] = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return numbers


def job_name(stage: str, pipeline: str) -> str:
    """The job of a stage in a run; with what Kubernetes adds for its pods it has no more than 63 characters."""
    run_id = re.sub(r"[^a-z0-9]+", "-", pipeline.lower())[:20].strip("-")
    return f"{stage.replace('_', '-')}-{run_id}"


def _lay_out(folder: Path, inputs: Mapping[str, Path]) -> None:
    """Copy the inputs to where every node sees them; what a try before has copied stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, path in inputs.items():
        partial = folder / f"{key}.copy"
        if not (folder / key).exists():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(path, partial)
            partial.rename(folder / key)


def _train(job: "Job", folder: Path) -> None:
    """Have the job run to its end, and the folder show what it left."""
    try:
        job.ensure(folder)
        state, told = job.watch()
    except KeyboardInterrupt:  # SIGTERM: nobody waits for the job any more
        _logger.warning("%s: the task is stopped, and the job deleted", job)
        job.delete()
        raise
    said = folder / ERROR
    if state == "Failed":
        trained = f"\nthe training said: {said.read_text(encoding='utf-8')}" if said.exists() else ""
        raise RefsrError(f"{job} failed: {told}; its pods are kept until the next try{trained}")
    until = time.monotonic() + LATE
    while not (folder / NUMBERS).exists():
        if time.monotonic() > until:
            raise RefsrError(f"{job} is complete, but {folder / NUMBERS} is not there: is the volume ReadWriteMany?")
        time.sleep(1)


class Job:
    """The TrainJob of a name, in the namespace of this task. Methods raise RefsrError where the API refuses."""

    def __init__(self, name: str) -> None:
        from kubernetes import client, config

        self.name = name
        self.namespace = os.environ[NAMESPACE]
        try:
            config.load_incluster_config()
        except config.ConfigException:  # not in a pod
            try:
                config.load_kube_config(os.environ.get("KUBECONFIG"))
            except config.ConfigException as error:
                raise RefsrError(f"{self}: this is no pod, and KUBECONFIG names no cluster: {error}") from error
        self._api = client.CustomObjectsApi()

    def __str__(self) -> str:
        return f"TrainJob {self.namespace}/{self.name}"

    def ensure(self, folder: Path) -> None:
        """Make the job, unless a try before this one has and it did not fail."""
        found = self.find()
        if found and (_state(found)[0] == "Failed" or "deletionTimestamp" in found["metadata"]):
            _logger.warning("%s: a try before this one ended; it is deleted and made anew", self)
            self.delete()
            while found:
                time.sleep(1)
                found = self.find()
        if found:
            _logger.info("%s: made by a try before this one", self)
            return
        (folder / ERROR).unlink(missing_ok=True)
        self._create(folder)

    def find(self) -> dict[str, Any] | None:
        """The job as the API tells of it, or None."""
        look = self._api.get_namespaced_custom_object
        found: dict[str, Any] | None = self._ask("cannot be looked at", look, missing_ok=True, name=self.name)
        return found

    def watch(self) -> tuple[str, str]:
        """Log a line whenever its state changes, until it is Complete or Failed: that state, and its reason.

        An API that does not answer for a while is asked again: the job runs on without it.
        """
        shown = ""
        while True:
            try:
                found = self.find()
            except RefsrError as error:
                state, told = "Unknown", f"{error}; asked again"
            else:
                if found is None or "deletionTimestamp" in found["metadata"]:
                    raise RefsrError(f"{self} was deleted while it was waited for")
                state, told = _state(found)
            if (line := f"{self}: {state}: {told}") != shown:
                _logger.info("%s", line)
                shown = line
            if state in ("Complete", "Failed"):
                return state, told
            time.sleep(EVERY)

    def delete(self) -> None:
        """Ask for its end and that of its pods; one that is not there is no fault."""
        delete = self._api.delete_namespaced_custom_object  # in the foreground: it is gone when its pods are
        self._ask("cannot be deleted", delete, missing_ok=True, name=self.name, propagation_policy="Foreground")

    def _create(self, folder: Path) -> None:
        body = json.loads(os.environ[TRAINJOB])
        body["metadata"] = body.get("metadata", {}) | {"name": self.name, "namespace": self.namespace}
        body["spec"]["trainer"]["args"] = [str(folder)]
        self._ask("cannot be made", self._api.create_namespaced_custom_object, body=body, field_validation="Strict")
        nodes = body["spec"]["trainer"]["numNodes"]
        pods = f"kubectl -n {self.namespace} logs -f -l jobset.sigs.k8s.io/jobset-name={self.name}"
        _logger.info("%s: made, %d nodes; metrics are in MLflow, logs: %s", self, nodes, pods)

    def _ask(self, what: str, call: Callable[..., Any], missing_ok: bool = False, **given: Any) -> Any:
        """The API's answer; None for what is not there, where that is no fault."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(namespace=self.namespace, **JOBS, **given)
        except ApiException as error:
            if error.status == 404 and missing_ok:
                return None
            reason = error.reason
            with contextlib.suppress(ValueError, TypeError, KeyError):
                reason = json.loads(error.body)["message"]
            way_out = f"; {WAYS_OUT[error.status]}" if error.status in WAYS_OUT else ""
            raise RefsrError(f"{self} {what}: {error.status}: {reason}{way_out}") from error
        except HTTPError as error:
            raise RefsrError(f"{self} {what}: the Kubernetes API does not answer ({error})") from error


def _state(job: Mapping[str, Any]) -> tuple[str, str]:
    """One word for how a TrainJob is, and what is to be said of it.

    Its conditions tell of an end and of a wait, `jobsStatus` of the Jobs it is made of: `active` has a pod on its way,
    `ready` has them all.
    """
    status = job.get("status") or {}
    met = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
    for state in ("Failed", "Complete", "Suspended"):
        if state in met:
            return state, f"{met[state].get('reason', '')}: {met[state].get('message', '')}"
    jobs = status.get("jobsStatus", [])
    if not any(each["active"] or each["ready"] for each in jobs):
        return "Created", "there are no pods yet"
    if not all(each["ready"] for each in jobs):
        return "Starting", "not all pods are ready: they wait for nodes, GPUs, the volume or the image"
    return "Running", "all pods are ready"
