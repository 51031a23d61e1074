"""A task hands its training over to Kubeflow Trainer: what a stand-in for the Kubernetes API is asked, and answers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from trainer_api import TrainerApi, condition, jobs, serving

from components import shell
from components.trainjob import controller
from pipelines.cluster import Cluster, State, load_cluster
from pipelines.trainjob_spec import trainjob
from refsr.integrations.mlflow_store import open_store

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "trainjob.schema.json").read_text())
PIPELINE = "run-1"
JOB = "train-sisr-run-1"
PARAMS: dict[str, Any] = {}
CURATED = b"faces"
WEIGHTS = b"weights"
# A task as a process of its own, for what is done to processes.
TASK = """
import sys
from pathlib import Path
from types import SimpleNamespace
from components import handover, shell

handover.EVERY = 0.05
folder = Path(sys.argv[1])
paths = {name: SimpleNamespace(path=str(folder / name)) for name in ("curated", "validation", "sisr")}
shell.run("train_sisr", {}, "http://mlflow:5000", SimpleNamespace(metadata={}), **paths)
"""


def _cluster() -> Cluster:
    default = load_cluster()
    tasks = default.tasks | {"train_sisr": default.tasks["train_sisr"].model_copy(update={"nodes": 2})}
    return default.model_copy(update={"state": State(claim="shared"), "tasks": tasks})


class Task:
    """The task train_sisr of a run: its artifacts, and the volume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = SimpleNamespace(path="", metadata={})
        (folder / "curated").mkdir(parents=True)
        (folder / "curated/faces.npy").write_bytes(CURATED)
        (folder / "validation").mkdir()

    @property
    def place(self) -> Path:
        """Where the nodes find their order, on the volume."""
        return self.folder / "state" / JOB

    def run(self) -> None:
        paths = {name: SimpleNamespace(path=str(self.folder / name)) for name in ("curated", "validation", "sisr")}
        shell.run("train_sisr", PARAMS, "http://mlflow:5000", self.metrics, **paths)

    def start(self) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", TASK, str(self.folder)]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def train(self, job: dict[str, Any]) -> None:
        """What the nodes do, as the argument of their command says."""
        (place,) = map(Path, job["spec"]["trainer"]["args"])
        order = json.loads((place / controller.ORDER).read_text())
        assert (Path(order["paths"]["curated"]) / "faces.npy").read_bytes() == CURATED
        Path(order["paths"]["sisr"]).mkdir()
        (Path(order["paths"]["sisr"]) / "model.safetensors").write_bytes(WEIGHTS)
        (place / controller.NUMBERS).write_text('{"loss": 0.5, "psnr": NaN}')


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerApi]:
    with serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def task(api: TrainerApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    made = Task(tmp_path / "task")
    api.train = made.train
    monkeypatch.setattr(controller, "EVERY", 0.01)
    monkeypatch.setattr(shell, "TERMINATION", tmp_path / "termination-log")
    (tmp_path / "termination-log").touch()
    monkeypatch.setenv(controller.TRAINJOB, json.dumps(trainjob("train_sisr", _cluster(), "refsr:1")))
    monkeypatch.setenv(controller.NAMESPACE, "faces")
    monkeypatch.setenv(shell.STATE, str(made.folder / "state"))
    monkeypatch.setenv(shell.RUN, PIPELINE)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def _refused(task: Task) -> str:
    with pytest.raises(SystemExit) as ended:
        task.run()
    told = str(ended.value)
    assert told.startswith("refsr: error: ")
    assert f"refsr: error: {shell.TERMINATION.read_text()}" == told, "Kubernetes is told another reason"
    return told


def test_a_job_is_made_once_waited_for_and_what_it_leaves_is_taken(
    api: TrainerApi, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    api.statuses = [{}, jobs(1, 0), jobs(1, 0), jobs(1, 1), condition("Complete", "JobsCompleted")]
    task.run()
    (job,) = api.made
    jsonschema.validate(job, SCHEMA)
    assert job["metadata"] == {"name": JOB, "namespace": "faces"}
    assert job["spec"]["trainer"]["command"] == ["torchrun", "-m", "components.trainjob.entrypoint"]
    assert [each for each in api.seen if "POST" in each] == ["POST ?fieldValidation=Strict"]
    assert (task.folder / "sisr/model.safetensors").read_bytes() == WEIGHTS
    assert task.metrics.metadata == {"loss": 0.5}
    states = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if line[0].isdigit()]
    assert states == ["Created", "Starting", "Running", "Complete"]
    assert not api.jobs, "the job is left behind"
    assert not list((task.folder / "state").iterdir())


def test_a_volume_that_is_closed_to_tasks_is_named_with_the_way_out(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task.folder / "state").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # to root, who may run the tests, nothing is closed
    assert "may not write to this volume; `kubectl apply -k k8s/state`" in _refused(task)


def test_a_misspelt_field_would_be_seen(api: TrainerApi, task: Task) -> None:
    job = trainjob("train_sisr", _cluster(), "refsr:1") | {"metadata": {"name": "a", "namespace": "b"}}
    jsonschema.validate(job, SCHEMA)
    job["spec"]["trainer"]["numNode"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_a_failure_ends_the_task_with_the_jobs_own_reason_and_that_of_the_training(
    api: TrainerApi, task: Task, tracking_uri: str
) -> None:
    api.statuses = [jobs(1, 1), condition("Failed", "FailedJobs", "jobset failed due to one or more job failures")]
    api.train = lambda job: (task.place / controller.ERROR).write_text("the disk is full")
    told = _refused(task)
    assert f"TrainJob faces/{JOB} failed: FailedJobs: jobset failed due to" in told
    assert told.endswith("the training said: the disk is full")
    assert JOB in api.jobs, "whoever wants to know more finds no pods"
    assert not (task.folder / "sisr").exists()
    status = SimpleNamespace(state="FAILED", pipeline_job_resource_name="p", error_message=told)
    shell.finish(status, tracking_uri, "refsr:1")
    client = open_store(tracking_uri).MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("refsr").experiment_id])
    assert "FailedJobs: jobset failed" in run.data.tags["error"]


def test_a_failed_job_is_made_anew_by_the_next_try(api: TrainerApi, task: Task) -> None:
    api.statuses = [condition("Failed", "DeadlineExceeded", "too long")]
    api.train = lambda job: None
    _refused(task)
    api.train = task.train
    api.statuses = [condition("Failed"), condition("Complete")]
    task.run()
    assert len(api.made) == 2
    assert (task.folder / "sisr/model.safetensors").exists()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((403, "trainjobs is forbidden"), "403: trainjobs is forbidden; let the task's service account create, get"),
        ((404, "the server could not find it"), "404: the server could not find it; Kubeflow Trainer is not installed"),
        ((400, 'unknown field "spec.runtimePatches"'), "the Trainer of this cluster knows other fields; 2.2 or later"),
    ],
)
def test_a_refusal_tells_the_way_out(refusal: tuple[int, str], told: str, api: TrainerApi, task: Task) -> None:
    api.refusal = refusal
    assert told in _refused(task)


def test_an_api_that_is_away_for_a_while_is_asked_again(
    api: TrainerApi, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    api.statuses = [jobs(1, 1), 503, 503, jobs(1, 1), condition("Complete")]
    task.run()
    assert "Unknown: TrainJob faces/train-sisr-run-1 cannot be looked at: 503: come again; asked again" in (
        capsys.readouterr().out
    )


def test_a_job_that_somebody_deletes_is_not_waited_for(api: TrainerApi, task: Task) -> None:
    api.statuses = [condition("Suspended", "Evicted")]
    api.train = lambda job: api.jobs.clear()
    assert "was deleted while it was waited for" in _refused(task)


def test_a_task_killed_while_it_waits_finds_its_job_again(api: TrainerApi, task: Task) -> None:
    api.statuses = [jobs(1, 1)]
    killed = task.start()
    _await_looks(api, killed)
    killed.kill()
    killed.communicate()
    api.statuses = [jobs(1, 1), condition("Complete")]
    task.run()
    assert len(api.made) == 1
    assert (task.folder / "sisr/model.safetensors").read_bytes() == WEIGHTS


def test_a_task_that_is_stopped_deletes_its_job(api: TrainerApi, task: Task) -> None:
    api.statuses = [jobs(1, 1)]
    stopped = task.start()
    _await_looks(api, stopped)
    stopped.send_signal(signal.SIGTERM)
    output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode != 0
    assert f"DELETE {JOB}?propagationPolicy=Foreground" in api.seen
    assert "the task is stopped, and the job deleted" in output
    assert not api.jobs


def _await_looks(api: TrainerApi, process: "subprocess.Popen[str]") -> None:
    """Until the job has been looked at more than once since it was made."""
    while sum(each.startswith("GET") for each in api.seen) < 4:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
