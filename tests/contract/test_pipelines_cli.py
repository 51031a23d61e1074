"""Schedule, watch, cancel, upload and diff, and the requests that a Kubeflow API receives."""

import json
from pathlib import Path

import jsonschema
import pytest
from compiled import stages_of
from kubeflow_api import Api, refusal, run_of

from pipelines import monitor
from pipelines.cli import main
from pipelines.limits import cron, run_id
from refsr.strict_yaml import load_documents

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("clean_environment")


def test_upload_prints_the_version_and_gives_every_input_a_default(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person starts a run from the UI without typing a value."""
    package = tmp_path / "p.yaml"
    command = ["upload", *_arguments(api), "--namespace", "faces", "--output", str(package)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    page = f"{api.endpoint}/#/pipelines/details/p1/version/v1"
    assert f"{page}: uploaded refsr-training-tiny, version 1" in printed
    created = api.sent("POST pipelines")
    assert (created["display_name"], created["namespace"]) == ("refsr-training-tiny", "faces")
    assert "[Default: {" not in package.read_text()  # whose order differs from process to process
    pipeline, _ = load_documents(package.read_text())
    inputs = pipeline["root"]["inputDefinitions"]["parameters"]
    assert not [name for name, each in inputs.items() if "defaultValue" not in each]
    assert inputs["tracking_uri"]["defaultValue"] == "http://mlflow:5000"
    assert inputs["train_sisr"]["defaultValue"]["steps"] == 6
    assert inputs["evaluate"]["defaultValue"]["batch_size"] == 32  # not in the params file
    exists = refusal(409, "Failed to create a pipeline version: already exist")
    api.responses["POST pipelines/upload_version"] = [exists]
    assert main(command) == 1
    assert "versions never change; commit, or pass --image" in capsys.readouterr().err
    assert main([*command, "--dry-run"]) == 0
    assert "dry run, not uploaded" in capsys.readouterr().out


def test_gitops_objects_have_the_defaults_too(tmp_path: Path) -> None:
    objects = tmp_path / "objects.yaml"
    command = ["compile", "--params", str(ROOT / "params/tiny.yaml"), "--image", "refsr:1"]
    assert main([*command, "--gitops", "--output", str(objects)]) == 0
    stored = list(load_documents(objects.read_text()))
    assert [each["kind"] for each in stored] == ["Pipeline", "PipelineVersion"]
    for each in stored:
        schema = ROOT / f"k8s/schemas/{each['kind']}.json"
        jsonschema.validate(each, json.loads(schema.read_text()))
    inputs = stored[1]["spec"]["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    assert inputs["train_sisr"]["defaultValue"]["steps"] == 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tracking-uri", "sqlite:///mlflow.db"], "pods need the URL of an MLflow server"),
        (["--raw", "data/faces"], "pods cannot read folders of this machine"),
        (["--tracking-uri", "http://me:hunter2@mlflow"], "Secret"),
    ],
)
def test_a_package_gets_no_default_that_pods_cannot_reach(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", "--params", str(ROOT / "params/tiny.yaml"), "--image", "refsr:1"]
    assert main([*command, *words, "--output", str(tmp_path / "p.yaml")]) == 1
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * 0", 'five fields, and seconds come first; pass "0 0 3 * * 0"'),
        ("0 3 *", "3 fields, not six"),
        ("0 60 3 * * 0", "minute '60' is not"),
        ("0 0 3 * * 7", "day of week '7' is not"),
        ("0 0 3 * * MOON", "day of week 'MOON' is not"),
        ("0 0 5-3 * * *", "hour '5-3' is not"),
        ("0 0 */0 * * *", "hour '*/0' is not"),
        ("", "0 fields, not six"),
        ("0 0 3 1,,2 * *", "day of month '1,,2' is not"),
        ("0 0 0 30 2 *", "no such month has a day 30"),
        ("0 0 0 31 FEB,4,6 *", "no such month has a day 31"),
        ("@every 1hour", "@every with a time above 0 as 1h30m"),
        ("@every 0s", "@every with a time above 0"),
        ("@reboot", "is not @hourly"),
        ("@Daily", "is not @hourly"),
    ],
)
def test_a_cron_expression_that_kubeflow_would_misread_is_refused(
    cron: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["schedule", "--cron", cron])
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "expression",
    [
        *("0 0 3 * * 0", "0 */5 1-3,8 ? JAN-MAR/2 mon", "59 59 23 31 12 6"),
        *("0 0 0 29 2 *", "0 0 0 1,31 feb *", "0 0 0 31 */2 *", "0 0 0 31 1-4 *"),
        *("@daily", "@every 1h30m", "@every 0.5h"),
    ],
)
def test_cron_expressions(expression: str) -> None:
    assert cron(expression) == expression


@pytest.mark.parametrize(
    ("option", "longest"),
    [("--experiment", 128), ("--run-name", 255)],
)
def test_a_name_that_the_server_cannot_store_is_refused(
    option: str, longest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["submit", "--params", "params/none.yaml"]
    for name in ("", " ", "a\nb", "a" * (longest + 1)):
        with pytest.raises(SystemExit):
            main([*command, option, name])
        assert f"is no name; it has 1 to {longest}" in capsys.readouterr().err
    assert main([*command, option, "\u00fc" * (longest // 2)]) == 1
    assert "is no name" not in capsys.readouterr().err


def _arguments(api: Api) -> list[str]:
    params = str(ROOT / "params/tiny.yaml")
    return ["--params", params, "--endpoint", api.endpoint, "--image", "refsr:1"]


def test_schedule_creates_a_recurring_run(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _arguments(api)
    assert main(["schedule", *arguments, "--cron", "0 0 3 * * 0"]) == 0
    assert "#/recurringrun/details/s1: 0 0 3 * * 0" in capsys.readouterr().out
    body = api.sent("POST recurringruns")
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 0"
    assert body["no_catchup"] is True
    assert body["runtime_config"]["parameters"]["train_sisr"]["steps"] == 6


@pytest.mark.parametrize(("command", "cached"), [("schedule", False), ("submit", True)])
def test_each_night_the_champion_is_evaluated_on_what_is_new(
    command: str,
    cached: bool,
    api: Api,
) -> None:
    """A raw set at one URI is read each time; the champion is looked up by its alias."""
    words = ["--graph", "reevaluation", "--raw", "s3://faces/new", "--image", "refsr:1"]
    when = ["--cron", "0 0 4 * * *"] if command == "schedule" else []
    assert main([command, *words, *when, "--endpoint", api.endpoint]) == 0
    body = api.sent("POST recurringruns" if command == "schedule" else "POST runs")
    tasks = stages_of(body["pipeline_spec"]["pipeline_spec"])
    enabled = {
        name: each["cachingOptions"].get("enableCache", False) for name, each in tasks.items()
    }
    assert (enabled["curate"], enabled["checkpoint"], enabled["evaluate"]) == (cached, False, True)
    given = body["runtime_config"]["parameters"]
    assert given["checkpoint"] == {"model": "models:/refsr@champion"}
    assert given["raw"] == "s3://faces/new"


def test_a_run_is_named_by_its_id_or_its_url(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_id("5b7e-1") == run_id("http://kfp:8888/#/runs/details/5b7e-1/") == "5b7e-1"
    for text in ("", "a b", "http://kfp/#/?id=1"):
        with pytest.raises(SystemExit):
            main(["watch", text])
        assert "is no id of a run" in capsys.readouterr().err


@pytest.mark.parametrize(("end", "status"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_watch_exits_with_the_state_of_the_run(
    api: Api, end: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    running = run_of("RUNNING", ("curate", "RUNNING", 0), ("curate-driver", "SUCCEEDED", 1))
    ended = run_of(end, ("curate", end, 7), error="curate: no faces" if status else "")
    api.responses["GET runs/r1"] = [running, running, ended]
    assert main(["watch", "r1", "--endpoint", api.endpoint, "--every", "0.01"]) == status
    printed = capsys.readouterr()
    assert printed.out.count("RUNNING") == 2, "the same table twice"
    assert f"{end:<10}  0:07:00  curate" in printed.out
    assert "driver" not in printed.out
    assert ("curate: no faces" in printed.err) is bool(status)


def test_cancel_terminates_a_run(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a controller, a run stays CANCELING."""
    monkeypatch.setattr(monitor, "PATIENCE", 0.0)
    api.responses["GET runs/r1"] = [run_of("CANCELING")]
    assert main(["cancel", "r1", "--endpoint", api.endpoint, "--every", "0.01"]) == 0
    assert api.sent("POST runs/r1:terminate") is not None
    assert "still CANCELING; `python -m pipelines watch r1`" in capsys.readouterr().out


def test_diff_compares_with_the_uploaded_version(
    api: Api,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = _arguments(api)
    package = tmp_path / "p.yaml"
    assert main(["diff", *arguments]) == 1
    assert "upload one with `python -m pipelines upload`" in capsys.readouterr().err
    assert main(["upload", *arguments, "--output", str(package)]) == 0
    assert "pipelineInfo" in api.sent("POST pipelines/upload_version")
    pipeline, platform = load_documents(package.read_text())
    version = {
        "display_name": "1",
        "pipeline_spec": {"pipeline_spec": pipeline, "platform_spec": platform},
    }
    api.responses["GET pipelines"] = [{"pipelines": [{"pipeline_id": "p1"}]}]
    api.responses["GET pipelines/p1/versions"] = [{"pipeline_versions": [version]}]
    capsys.readouterr()
    assert main(["diff", *arguments]) == 0
    assert "no change" in capsys.readouterr().out
    (tmp_path / "cluster.yaml").write_text("tasks: {curate: {memory: 99Gi}}\n")
    assert main(["diff", *arguments, "--cluster", str(tmp_path / "cluster.yaml")]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("+ ", "- "))]
    assert {line.split()[-1] for line in lines} >= {"16Gi", "99Gi"}
    assert all("emory" in line for line in lines)
