"""Submissions that are refused, and the requests that a Kubeflow API receives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubeflow_api import CLOSED, Api

from pipelines import images, submit
from pipelines.cli import main
from pipelines.compile import immutable_image
from refsr.errors import RefsrError
from refsr.strict_yaml import load_documents
from tools.manifests import write_image

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("clean_environment")


def _submit(
    *arguments: str, params: Path | str = ROOT / "params/tiny.yaml", endpoint: str = CLOSED
) -> int:
    return submit.main(
        ["--params", str(params), "--endpoint", endpoint, "--image", "refsr:1", *arguments],
    )


def _refused(
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    **options: Any,
) -> str:
    assert _submit(*arguments, **options) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("refsr: error: ")
    return printed.err


def test_a_dry_run_sends_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert _submit("--dry-run", "--output", str(tmp_path / "p.yaml")) == 0
    assert "refsr:1" in capsys.readouterr().out
    assert len(list(load_documents((tmp_path / "p.yaml").read_text()))) == 2
    assert (
        _submit("--dry-run", "--raw", "s3://bucket/vggface2", params=ROOT / "params/vggface2.yaml")
        == 0
    )


def test_submit_starts_a_run_with_every_parameter(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "t0ken")
    assert _submit("--namespace", "faces", "--experiment", "tries", endpoint=api.endpoint) == 0
    assert "t0ken" not in (printed := capsys.readouterr().out)
    assert f"{api.endpoint}/#/runs/details/r1" in printed
    experiment = api.sent("POST experiments")
    assert (experiment["display_name"], experiment["namespace"]) == ("tries", "faces")
    run = api.sent("POST runs")
    assert {sender for method, _, _, sender in api.requests if method == "POST"} == {"Bearer t0ken"}
    assert run["experiment_id"] == "e1"
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "refsr-training"
    given = run["runtime_config"]["parameters"]
    assert given["tracking_uri"] == "http://mlflow:5000"
    assert given["train_sisr"]["steps"] == 6
    assert given["evaluate"]["batch_size"] == 32  # a default
    assert "t0ken" not in json.dumps(run)


def test_reevaluation_takes_the_raw_set_from_where_training_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command of the page, with the default params file."""
    command = ["--graph", "reevaluation", "--sisr", "s3://bucket/of/sisr", "--dry-run"]
    assert _submit(*command, params=ROOT / "params.yaml") == 0
    assert "\nsynthesize " in capsys.readouterr().out
    assert _submit(*command, "--raw", "s3://bucket/faces", params=ROOT / "params.yaml") == 0
    assert "\nsynthesize " not in capsys.readouterr().out


def test_an_endpoint_without_response_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--endpoint {CLOSED}: no response" in _refused(capsys)
    assert "not an http(s):// URL" in _refused(capsys, endpoint="kfp.example")


def test_the_older_command_still_submits(tmp_path: Path) -> None:
    """`python -m pipelines.submit` and `python -m pipelines submit` are the same command."""
    arguments = [
        "--params",
        str(ROOT / "params/tiny.yaml"),
        "--endpoint",
        CLOSED,
        "--image",
        "refsr:1",
    ]
    outputs = []
    for words in (["pipelines.submit"], ["pipelines", "submit"]):
        command = [sys.executable, "-m", *words, *arguments, "--dry-run"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith(f"dry run, not submitted to {CLOSED}: training with")


def test_an_option_overrides_the_environment_which_overrides_the_cluster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("target: {endpoint: 'http://file', image: 'refsr:file'}\n")
    command = ["submit", "--params", str(ROOT / "params/tiny.yaml"), "--dry-run"]
    assert main(command) == 1
    assert (
        "--endpoint is required: pass it, set KFP_ENDPOINT, or set target.endpoint"
        in capsys.readouterr().err
    )
    assert main([*command, "--endpoint", "http://option"]) == 1
    assert "--image is required: pass it, set REFSR_IMAGE" in capsys.readouterr().err
    command += ["--cluster", str(cluster)]
    for extra, expected in (
        ([], "http://file: "),
        ([], "http://environment: "),
        (["--endpoint", "http://option"], "http://option: "),
    ):
        assert main([*command, *extra]) == 0
        printed = capsys.readouterr().out
        assert expected in printed
        assert "refsr:file" in printed
        monkeypatch.setenv("KFP_ENDPOINT", "http://environment")


def test_a_pod_uses_the_token_of_its_service_account(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text("projected")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert _submit(endpoint=api.endpoint) == 0
    assert {sender for method, _, _, sender in api.requests if method == "POST"} == {
        "Bearer projected"
    }


def test_the_revision_tags_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = f"refsr@sha256:{'0' * 64}"
    assert immutable_image("registry:5000/team/refsr:v1") == "registry:5000/team/refsr:v1"
    assert immutable_image(digest) == digest
    with pytest.raises(RefsrError, match="latest"):
        immutable_image("registry:5000/refsr:latest")
    monkeypatch.setattr("pipelines.compile.git_revision", lambda: ("abc123", False))
    assert immutable_image("registry:5000/refsr") == "registry:5000/refsr:abc123"
    monkeypatch.setattr("pipelines.compile.git_revision", lambda: ("abc123", True))
    with pytest.raises(RefsrError, match="files differ from the last commit"):
        immutable_image("refsr")
    monkeypatch.setattr("pipelines.compile.git_revision", lambda: (None, False))
    with pytest.raises(RefsrError, match="no git checkout"):
        immutable_image("refsr")


def test_a_pushed_image_is_submitted_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = f"sha256:{'0' * 64}"
    write_image(f"registry:5000/refsr:v1@{digest}", tmp_path)
    monkeypatch.setattr(images, "PUSHED", tmp_path / "image/kustomization.yaml")
    pushed = f"registry:5000/refsr:v1@{digest}"
    assert images.image_of("registry:5000/refsr:v1", require_digest=True) == pushed
    assert immutable_image(pushed) == pushed
    assert [images.tag_of(each) for each in (pushed, f"refsr@{digest}")] == ["v1", "0" * 12]
    assert images.image_of("registry:5000/refsr:v2") == "registry:5000/refsr:v2"
    cluster = str(ROOT / "k8s/overlays/gpu/cluster.yaml")
    message = _refused(capsys, "--cluster", cluster, "--dry-run")
    assert "--image refsr:1: no digest" in message
    assert _submit("--cluster", cluster, "--dry-run", "--image", pushed) == 0
    assert pushed in capsys.readouterr().out
