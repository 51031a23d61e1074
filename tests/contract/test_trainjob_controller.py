"""The controller of a TrainJob against a simulated Kubernetes API over HTTP."""

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
from components.trainjob.spec import trainjob
from pipelines.cluster import Cluster, State, load_cluster
from pipelines.task_settings import node_settings
from refsr.integrations.mlflow_store import open_store

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parents[2] / "k8s/schemas/TrainJob.json").read_text())
PIPELINE = "run-1"
JOB = "train-sisr-run-1"
PARAMS: dict[str, Any] = {}
CURATED = b"faces"
WEIGHTS = b"weights"
# A task in a process of its own, which tests kill or stop.
TASK = """
import sys
from pathlib import Path
from types import SimpleNamespace
from components import shell
from components.trainjob import controller

controller.POLL = 0.05
folder = Path(sys.argv[1])
names = ("curated", "validation", "sisr")
paths = {name: SimpleNamespace(path=str(folder / name), metadata={}) for name in names}
shell.run("train_sisr", {}, "http://127.0.0.1:9", SimpleNamespace(metadata={}), **paths)
"""


def _cluster() -> Cluster:
    default = load_cluster()
    tasks = default.tasks | {
        "train_sisr": default.tasks["train_sisr"].model_copy(update={"nodes": 2})
    }
    return default.model_copy(update={"state": State(claim="shared"), "tasks": tasks})


def _trainjob() -> dict[str, Any]:
    cluster = _cluster()
    return trainjob(node_settings("train_sisr", cluster.tasks["train_sisr"], cluster, "refsr:1"))


class Task:
    """The task train_sisr of a run: its artifacts and the volume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = SimpleNamespace(path="", metadata={})
        (folder / "curated").mkdir(parents=True)
        (folder / "curated/faces.npy").write_bytes(CURATED)
        (folder / "validation").mkdir()

    @property
    def job_folder(self) -> Path:
        """The folder on the volume with the request to the nodes."""
        return self.folder / "state" / JOB

    def run(self) -> None:
        paths = {
            name: SimpleNamespace(path=str(self.folder / name), metadata={})
            for name in ("curated", "validation", "sisr")
        }
        shell.run("train_sisr", PARAMS, "http://127.0.0.1:9", self.metrics, **paths)

    def start(self) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", TASK, str(self.folder)]
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def train(self, job: dict[str, Any]) -> None:
        """Do what the nodes do."""
        (folder,) = map(Path, job["spec"]["trainer"]["args"])
        request = json.loads((folder / controller.REQUEST).read_text())
        paths = {name: Path(path) for name, path in request["paths"].items()}
        assert (paths["curated"] / "faces.npy").read_bytes() == CURATED
        paths["sisr"].mkdir()
        (paths["sisr"] / "model.safetensors").write_bytes(WEIGHTS)
        (folder / controller.RESULT).write_text('{"loss": 0.5, "psnr": NaN}')


@pytest.fixture
def api(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TrainerApi]:
    with serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def task(
    api: TrainerApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Task]:
    task = Task(tmp_path / "task")
    api.train = task.train
    monkeypatch.setattr(controller, "POLL", 0.01)
    monkeypatch.setattr(shell, "TERMINATION", tmp_path / "termination-log")
    (tmp_path / "termination-log").touch()
    monkeypatch.setenv(controller.TRAINJOB, json.dumps(_trainjob()))
    monkeypatch.setenv(controller.NAMESPACE, "faces")
    monkeypatch.setenv(shell.STATE, str(task.folder / "state"))
    monkeypatch.setenv(shell.RUN, PIPELINE)
    before = signal.getsignal(signal.SIGTERM)
    yield task
    signal.signal(signal.SIGTERM, before)


def _refused(task: Task) -> str:
    """The message that the task fails with."""
    with pytest.raises(SystemExit) as ended:
        task.run()
    message = str(ended.value)
    assert message == f"refsr: error: {shell.TERMINATION.read_text()}"
    return message


def test_the_task_creates_a_job_waits_and_copies_its_outputs(
    api: TrainerApi, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    api.statuses = [{}, jobs(1, 0), jobs(1, 0), jobs(1, 1), condition("Complete", "JobsCompleted")]
    task.run()
    (job,) = api.created
    jsonschema.validate(job, SCHEMA)
    assert job["metadata"] == {"name": JOB, "namespace": "faces"}
    assert job["spec"]["trainer"]["command"] == ["torchrun", "-m", "components.trainjob.entrypoint"]
    assert [each for each in api.requests if "POST" in each] == ["POST ?fieldValidation=Strict"]
    assert (task.folder / "sisr/model.safetensors").read_bytes() == WEIGHTS
    assert task.metrics.metadata == {"loss": 0.5}
    lines = [line.split(": ") for line in capsys.readouterr().err.splitlines() if " INFO " in line]
    states = [words[2] for words in lines if words[2][0].isupper()]
    assert states == ["Created", "Starting", "Running", "Complete"]
    assert not api.jobs, "the job remains"
    assert not list((task.folder / "state").iterdir())


def test_a_volume_without_write_access_is_reported(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task.folder / "state").mkdir()
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # root, who may run the tests, has access
    assert "cannot write to this volume; `kubectl apply -k k8s/state`" in _refused(task)


def test_the_schema_rejects_a_misspelt_field(
    api: TrainerApi,
    task: Task,
) -> None:
    job = _trainjob() | {"metadata": {"name": "a", "namespace": "b"}}
    jsonschema.validate(job, SCHEMA)
    job["spec"]["trainer"]["numNode"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_a_failed_job_fails_the_task_with_the_reasons_of_job_and_training(
    api: TrainerApi, task: Task, tracking_uri: str
) -> None:
    api.statuses = [
        jobs(1, 1),
        condition("Failed", "FailedJobs", "jobset failed due to one or more job failures"),
    ]
    api.train = lambda job: (task.job_folder / controller.ERROR).write_text("the disk is full")
    message = _refused(task)
    assert f"TrainJob faces/{JOB} failed: FailedJobs: jobset failed due to" in message
    assert message.endswith("training error: the disk is full")
    assert JOB in api.jobs, "its pods are gone"
    assert not (task.folder / "sisr").exists()
    status = SimpleNamespace(state="FAILED", pipeline_job_resource_name="p", error_message=message)
    shell.finish(status, tracking_uri, "refsr:1")
    client = open_store(tracking_uri).MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("refsr").experiment_id])
    assert "FailedJobs: jobset failed" in run.data.tags["error"]


def test_the_next_attempt_creates_a_failed_job_again(
    api: TrainerApi,
    task: Task,
) -> None:
    api.statuses = [condition("Failed", "DeadlineExceeded", "too long")]
    api.train = lambda job: None
    _refused(task)
    api.train = task.train
    api.statuses = [condition("Failed"), condition("Complete")]
    task.run()
    assert len(api.created) == 2
    assert (task.folder / "sisr/model.safetensors").exists()


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (
            (403, "trainjobs is forbidden"),
            "403: trainjobs is forbidden; allow the task's service account to",
        ),
        (
            (404, "the server could not find it"),
            "404: the server could not find it; install Kubeflow Trainer",
        ),
        (
            (400, 'unknown field "spec.runtimePatches"'),
            "the cluster's Trainer has other fields; install 2.3 or later",
        ),
    ],
)
def test_a_refusal_names_the_way_out(
    refusal: tuple[int, str], expected: str, api: TrainerApi, task: Task
) -> None:
    api.refusal = refusal
    assert expected in _refused(task)


def test_an_api_that_is_unavailable_for_a_while_is_asked_again(
    api: TrainerApi, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    api.statuses = [jobs(1, 1), 503, 503, jobs(1, 1), condition("Complete")]
    task.run()
    output = capsys.readouterr().err
    job = "TrainJob faces/train-sisr-run-1"
    assert f"Unknown: {job}: cannot get it: 503: try again; retrying" in output


def test_the_task_does_not_wait_for_a_deleted_job(
    api: TrainerApi,
    task: Task,
) -> None:
    api.statuses = [condition("Suspended", "Evicted")]
    api.train = lambda job: api.jobs.clear()
    assert "was deleted while the task waited for it" in _refused(task)


def test_a_killed_task_waits_for_its_job_again(
    api: TrainerApi,
    task: Task,
) -> None:
    api.statuses = [jobs(1, 1)]
    killed = task.start()
    _await_polls(api, killed)
    killed.kill()
    killed.communicate()
    api.statuses = [jobs(1, 1), condition("Complete")]
    task.run()
    assert len(api.created) == 1
    assert (task.folder / "sisr/model.safetensors").read_bytes() == WEIGHTS


def test_a_stopped_task_deletes_its_job(api: TrainerApi, task: Task) -> None:
    api.statuses = [jobs(1, 1)]
    stopped = task.start()
    _await_polls(api, stopped)
    stopped.send_signal(signal.SIGTERM)
    output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode != 0
    assert f"DELETE {JOB}?propagationPolicy=Foreground" in api.requests
    assert "the task was stopped; deleting the job" in output
    assert not api.jobs


def _await_polls(api: TrainerApi, process: "subprocess.Popen[str]") -> None:
    """Wait until the task has requested the job's status several times."""
    while sum(each.startswith("GET") for each in api.requests) < 4:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
