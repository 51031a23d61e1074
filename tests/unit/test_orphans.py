"""Runs left RUNNING by processes that are gone are closed; those of living ones are left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refsr import doctor
from refsr.config import Validate
from refsr.integrations import dead_runs
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.tracking import start_run

ROOT = Path(__file__).parents[2]
OPENED = """
import os, signal, sys
from refsr.config import Validate
from refsr.integrations.tracking import start_run
with start_run(sys.argv[1], "validate", Validate()):
    os.kill(os.getpid(), signal.SIGKILL)
"""

LOGGED = """
import os, signal, sys
from pathlib import Path
import mlflow
from registering import Pipeline
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
mlflow.MlflowClient.log_model_artifacts = kill  # the model is made, its files are not there yet
pipeline = Pipeline(sys.argv[1], Path("project"))
pipeline.train(1)
pipeline.register()
"""


def _run(uri: str, **tags: str) -> str:
    client = open_store(uri).MlflowClient()
    known = client.get_experiment_by_name("refsr")
    experiment = known.experiment_id if known else client.create_experiment("refsr")
    return str(client.create_run(experiment, tags=tags).info.run_id)


def _status(uri: str, run: str) -> str:
    return str(open_store(uri).MlflowClient().get_run(run).info.status)


def _ours(**changed: str) -> dict[str, str]:
    return dead_runs.process_tags() | {f"process.{key}": value for key, value in changed.items()}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, "RUNNING"),  # this very process
        ({"started": "1"}, "KILLED"),  # its number is another process now
        ({"boot": "another"}, "KILLED"),
        ({"pid": "4194304"}, "KILLED"),  # above the largest pid of Linux
        ({"host": "another", "pid": "4194304"}, "RUNNING"),
        ({"namespace": "pid:[1]", "pid": "4194304"}, "RUNNING"),  # of another container
        ({"pid": "none"}, "RUNNING"),
    ],
)
def test_only_a_run_whose_process_is_known_to_be_gone_is_closed(
    tracking_uri: str, changed: dict[str, str], status: str
) -> None:
    run = _run(tracking_uri, **_ours(**changed))
    with start_run(tracking_uri, "validate", Validate()):
        pass
    assert _status(tracking_uri, run) == status


def test_a_retried_task_closes_its_earlier_try_on_another_machine(tracking_uri: str) -> None:
    task = dead_runs.task_key("pipeline-1", "validate", "/pod/validation")
    elsewhere = {"process.host": "another"}
    before = _run(tracking_uri, **dead_runs.process_tags(task) | elsewhere)
    other = _run(
        tracking_uri,
        **dead_runs.process_tags(dead_runs.task_key("p", "validate", "/b")) | elsewhere,
    )
    with start_run(tracking_uri, "validate", Validate(), task=task):
        pass
    assert (_status(tracking_uri, before), _status(tracking_uri, other)) == ("KILLED", "RUNNING")


def test_a_killed_process_is_reported_and_its_run_closed(tracking_uri: str, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", OPENED, tracking_uri], env=os.environ, cwd=tmp_path
    )
    assert killed.returncode == -signal.SIGKILL
    assert doctor.runs(tracking_uri).state == "warn"
    assert (
        doctor.runs(tracking_uri, fix=True).message
        == "1 left open by dead processes: closed as KILLED"
    )
    assert doctor.runs(tracking_uri).state == "ok"
    client: Any = open_store(tracking_uri).MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("refsr").experiment_id])
    assert (run.info.status, run.data.tags["error"]) == ("KILLED", dead_runs.ERROR)


@pytest.mark.parametrize("way", ["doctor", "the next run"])
def test_a_model_that_a_killed_process_was_logging_is_failed(
    tracking_uri: str, tmp_path: Path, way: str
) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    killed = subprocess.run(
        [sys.executable, "-c", LOGGED, tracking_uri], env=environment, cwd=tmp_path
    )
    assert killed.returncode == -signal.SIGKILL
    client: Any = open_store(tracking_uri).MlflowClient()
    experiment = client.get_experiment_by_name("refsr").experiment_id
    living = client.create_run(experiment, tags=dead_runs.process_tags()).info.run_id
    client.create_logged_model(experiment, "living", source_run_id=living)
    ended = client.create_run(experiment).info.run_id
    client.create_logged_model(experiment, "ended", source_run_id=ended)
    client.set_terminated(ended, "KILLED")
    client.create_logged_model(experiment, "of no run")
    before = doctor.runs(tracking_uri)
    assert (before.state, before.message.partition("; ")[2]) == (
        "warn",
        "2 models never finished: still PENDING",
    )
    if way == "doctor":
        fixed = (
            "1 left open by dead processes: closed as KILLED; "
            "2 models never finished: closed as FAILED"
        )
        assert doctor.runs(tracking_uri, fix=True).message == fixed
    else:
        with start_run(tracking_uri, "validate", Validate()):
            pass
    assert doctor.runs(tracking_uri).state == "ok"
    states = {model.name: str(model.status) for model in client.search_logged_models([experiment])}
    assert states == {
        "refsr": "FAILED",
        "ended": "FAILED",
        "living": "PENDING",
        "of no run": "PENDING",
    }
