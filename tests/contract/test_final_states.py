"""Each state of a Kubeflow run gives its MLflow runs the right end, whoever looks first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from kfp_server_api import V2beta1RuntimeState
from kubeflow_api import Api, refusal, run_of

from components import shell
from pipelines.cli import main
from refsr import doctor
from refsr.integrations import dead_runs
from refsr.integrations.kubeflow_states import status_of
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.tracking import PARENT, PIPELINE

pytestmark = pytest.mark.usefixtures("clean_environment")
OPEN = None
# kfp_server_api 2.17: every value of the enumeration must stand here.
API = {
    "RUNTIME_STATE_UNSPECIFIED": OPEN,
    "PENDING": OPEN,
    "RUNNING": OPEN,
    "SUCCEEDED": "FINISHED",
    "SKIPPED": "FINISHED",  # "for example, due to caching"
    "FAILED": "FAILED",
    "CANCELING": OPEN,
    "CANCELED": "KILLED",
    "PAUSED": OPEN,
}
# google/ml-metadata, metadata_store.proto, Execution.State: a server of 2.17 passes these to the
# exit handler; COMPLETE and RUNNING were seen.
METADATA = {
    "UNKNOWN": OPEN,
    "NEW": OPEN,
    "RUNNING": OPEN,
    "COMPLETE": "FINISHED",
    "FAILED": "FAILED",
    "CACHED": "FINISHED",
    "CANCELED": "KILLED",
}
# kfp.dsl.PipelineTaskFinalStatus, and kfp.local.
SDK = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}
# argoproj/argo-workflows, pkg/apis/workflow/v1alpha1, NodePhase.
ARGO = {
    "Pending": OPEN,
    "Running": OPEN,
    "Succeeded": "FINISHED",
    "Skipped": "FINISHED",
    "Failed": "FAILED",
    "Error": "FAILED",
    "Omitted": "FINISHED",
}
NEW_WORD = {"HIBERNATED": OPEN, "": OPEN}
STATES = [*API.items(), *METADATA.items(), *SDK.items(), *ARGO.items(), *NEW_WORD.items()]


def test_every_state_of_the_api_has_its_end() -> None:
    assert set(API) == set(V2beta1RuntimeState.allowable_values)
    assert {state: status_of(state) for state, _ in STATES} == dict(STATES)
    assert status_of(None) is None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def _run(store: str, pipeline: str, *stages: str, task: str = "", parent: str = "") -> list[str]:
    """An open run of a pipeline, unless it has one, and a stage with each of these statuses."""
    client = open_store(store).MlflowClient()
    known = client.get_experiment_by_name("refsr")
    experiment = known.experiment_id if known else client.create_experiment("refsr")
    runs = []
    if not parent:
        parent = client.create_run(experiment, tags={PIPELINE: pipeline}).info.run_id
        runs = [parent]
    for number, status in enumerate(stages):
        tags = {PARENT: parent} | ({dead_runs.TASK: task} if task else {})
        run = client.create_run(experiment, start_time=number + 1, tags=tags).info.run_id
        if status != "RUNNING":
            client.set_terminated(run, status)
        runs.append(run)
    return runs


def _statuses(store: str, runs: list[str]) -> list[str]:
    client = open_store(store).MlflowClient()
    return [str(client.get_run(run).info.status) for run in runs]


def _tags(store: str, run: str) -> dict[str, str]:
    tags: dict[str, str] = open_store(store).MlflowClient().get_run(run).data.tags
    return tags


def _finish(
    store: str,
    pipeline: str,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(shell.RUN, pipeline)
    status = SimpleNamespace(state=state, error_message=None, pipeline_job_resource_name="job")
    shell.finish(status, store, "refsr:1")


@pytest.mark.parametrize(("state", "expected"), dict(STATES).items())
def test_the_exit_handler_records_each_state(
    state: str, expected: str | None, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _run(store, f"state-{state}", "FINISHED", "RUNNING")
    _finish(store, f"state-{state}", state, monkeypatch)
    assert _statuses(store, runs) == [expected or "RUNNING", "FINISHED", "KILLED"]
    tags = _tags(store, runs[0])
    assert tags["kfp.state"] == state
    assert tags.get("error") == (None if expected == "FINISHED" else f"state {state}")


def test_a_run_that_was_retried_has_no_error_of_its_first_end(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = _run(store, "retried")
    _finish(store, "retried", "FAILED", monkeypatch)
    _finish(store, "retried", "COMPLETE", monkeypatch)
    assert _statuses(store, [run]) == ["FINISHED"]
    assert "error" not in _tags(store, run)


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        (["FAILED", "FINISHED"], "RUNNING"),
        (["FAILED", "FAILED"], "FAILED"),
        (["KILLED"], "RUNNING"),
    ],
)
def test_a_state_that_is_no_end_is_a_failure_if_the_last_try_of_a_stage_failed(
    tries: list[str], expected: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = "-".join(tries)
    runs = _run(store, pipeline, *tries, task="t1")
    _finish(store, pipeline, "RUNNING", monkeypatch)
    assert _statuses(store, runs) == [expected, *tries]


@pytest.mark.parametrize(
    ("command", "states", "expected", "status"),
    [
        ("watch", ["RUNNING", "CANCELED"], "KILLED", 1),
        ("watch", ["FAILED"], "FAILED", 1),
        ("watch", ["SUCCEEDED"], "FINISHED", 0),
        ("cancel", ["CANCELING", "CANCELED"], "KILLED", 0),
    ],
)
def test_watch_and_cancel_close_the_runs_in_mlflow(
    command: str, states: list[str], expected: str, status: int, api: Api, store: str
) -> None:
    runs = _run(store, f"r1-{command}-{states[-1]}", "RUNNING")
    name = f"r1-{command}-{states[-1]}"
    api.responses[f"GET runs/{name}"] = [run_of(state) | {"run_id": name} for state in states]
    options = ["--endpoint", api.endpoint, "--tracking-uri", store, "--every", "0.01"]
    assert main([command, name, *options]) == status
    assert _statuses(store, runs) == [expected, "KILLED"]
    assert _tags(store, runs[0])["kfp.state"] == states[-1]


# Drill: what the exit handler is given (None: it never runs), what the API reports, and for the
# pipeline and each try of a task, as "task status", how MLflow's runs end.
DRILLS = {
    "fail": ("FAILED", "FAILED", "FAILED", ["a FINISHED", "b FAILED", "b FAILED"], ""),
    "cancel": (None, "CANCELED", "KILLED", ["a FINISHED", "b RUNNING"], "b"),
    "pod deleted": ("COMPLETE", "SUCCEEDED", "FINISHED", ["a RUNNING", "a FINISHED"], "a"),
    "SIGTERM": ("COMPLETE", "SUCCEEDED", "FINISHED", ["a KILLED", "a FINISHED"], ""),
    "time-out": ("FAILED", "FAILED", "FAILED", ["a FINISHED", "b RUNNING", "b RUNNING"], "bb"),
    "retry": ("COMPLETE", "SUCCEEDED", "FINISHED", ["a FAILED", "a FINISHED"], ""),
    "cache hit": ("COMPLETE", "SUCCEEDED", "FINISHED", ["b FINISHED"], ""),
    "all cached": ("CACHED", "SUCCEEDED", "FINISHED", [], ""),
    "sharded": ("COMPLETE", "SUCCEEDED", "FINISHED", ["a FINISHED", "b FAILED", "b FINISHED"], ""),
    "a shard fails": ("RUNNING", "FAILED", "FAILED", ["a RUNNING", "b FAILED", "c FINISHED"], "a"),
    "merge fails": ("FAILED", "FAILED", "FAILED", ["a FINISHED", "b FINISHED", "m FAILED"], ""),
}


@pytest.mark.parametrize("first", ["exit handler", "reconcile"])
@pytest.mark.parametrize("drill", DRILLS)
def test_no_drill_leaves_a_wrong_end(
    drill: str, first: str, api: Api, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks first, the exit handler or `reconcile`: what comes second changes nothing."""
    given, reported, expected, tries, left = DRILLS[drill]
    name = f"{drill} {first}"
    runs = _run(store, name)
    for each in tries:
        task, _, status = each.partition(" ")
        runs += _run(store, name, status, task=f"{name} {task}", parent=runs[0])
    api.responses[f"GET runs/{quote(name)}"] = [run_of(reported) | {"run_id": name}]
    reconcile = ["reconcile", "--endpoint", api.endpoint, "--tracking-uri", store]
    if given and first == "exit handler":
        _finish(store, name, given, monkeypatch)
    assert main(reconcile) == 0
    if given and first == "reconcile":
        _finish(store, name, given, monkeypatch)
    ends = [each.partition(" ")[2].replace("RUNNING", "KILLED") for each in tries]
    assert _statuses(store, runs) == [expected, *ends]
    closed = [run for run in runs[1:] if _tags(store, run).get("error") == dead_runs.ERROR]
    assert len(closed) == len(left)
    assert ("error" in _tags(store, runs[0])) is (expected != "FINISHED")


def test_a_store_out_of_reach_is_a_warning(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.responses["GET runs/r1"] = [run_of("SUCCEEDED")]
    closed = "http://127.0.0.1:9"
    assert main(["watch", "r1", "--endpoint", api.endpoint, "--tracking-uri", closed]) == 0
    warning = capsys.readouterr().err
    assert "was not checked" in warning
    assert "python -m pipelines reconcile" in warning


def _left_open(api: Api, store: str, name: str) -> list[str]:
    """A run that was cancelled, one that is at work, one of another cluster."""
    states = {f"{name}-cancelled": "CANCELED", f"{name}-running": "RUNNING"}
    for run, state in states.items():
        api.responses[f"GET runs/{run}"] = [run_of(state, error="deadline")]
    runs: list[str] = []
    for run in (*states, f"{name}-elsewhere"):
        runs += _run(store, run, "RUNNING")
    return runs


CLOSED = ["KILLED", "KILLED", "RUNNING", "RUNNING", "RUNNING", "RUNNING"]


def test_reconcile_closes_runs_that_have_ended(
    api: Api, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = _left_open(api, store, "reconcile")
    command = ["reconcile", "--endpoint", api.endpoint, "--tracking-uri", store]
    assert main(command) == 0
    assert "reconcile-cancelled: CANCELED at Kubeflow, closed in MLflow as KILLED" in (
        capsys.readouterr().out
    )
    assert _statuses(store, runs) == CLOSED
    assert _tags(store, runs[0])["error"] == "deadline"
    assert main(command) == 0
    assert "no run that has ended" in capsys.readouterr().out


def test_reconcile_reports_an_api_that_refuses(
    api: Api, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = _run(store, "refused")
    api.responses["GET runs/refused"] = [refusal(403, "User 'a' is not authorized")]
    command = ["reconcile", "--endpoint", api.endpoint, "--tracking-uri", store]
    assert main(command) == 1
    assert "403" in capsys.readouterr().err
    assert "403" in doctor.pipelines(store, api.endpoint).message
    assert _statuses(store, runs) == ["RUNNING"]
    open_store(store).MlflowClient().set_terminated(runs[0], "KILLED")


def test_the_doctor_finds_and_closes_them(
    api: Api,
    store: str,
) -> None:
    runs = _left_open(api, store, "doctor")
    finding: Any = doctor.pipelines(store, api.endpoint)
    assert (finding.state, finding.message[:1]) == ("warn", "1")
    assert "doctor-cancelled (CANCELED)" in finding.message
    assert "doctor --fix" in finding.todo
    assert doctor.pipelines(store, api.endpoint, fix=True).state == "ok"
    assert _statuses(store, runs) == CLOSED
    assert "no run" in doctor.pipelines(store, api.endpoint).message


def test_a_damaged_answer_of_the_api_is_a_message(
    api: Api,
    store: str,
) -> None:
    _left_open(api, store, "damaged")
    api.responses["GET runs/damaged-running"] = ["no mapping"]
    finding = doctor.pipelines(store, api.endpoint)
    assert finding.state == "fail"
    assert "no answer" in finding.message


def test_no_store_is_made_to_look_for_runs(
    tmp_path: Path, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert main(["reconcile", "--endpoint", api.endpoint, "--tracking-uri", uri]) == 1
    assert "no such file; check the path" in capsys.readouterr().err
    findings = list(doctor.examine(uri, api.endpoint, None))
    assert "pipelines" not in [each.check for each in findings]
    assert not list(tmp_path.iterdir())
