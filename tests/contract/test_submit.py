"""Submissions that are refused, and the requests that a Kubeflow API receives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_api import CLOSED, Api

from pipelines import images, submit
from pipelines.cli import main
from pipelines.compile import immutable_image
from pipelines.limits import require_exact
from refsr.errors import RefsrError
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
    assert len(list(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))) == 2
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


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("curate: {hr_sise: 64}", "bad.yaml: curate.hr_sise: unknown parameter"),
        ("evaluate: {bootstrap: 8.5}", "bad.yaml: evaluate.bootstrap"),
        ("train: {}", "bad.yaml: unknown section 'train'"),
        ("curate: {}", "bad.yaml: no section `synthesize`"),
        ("- a list", "bad.yaml: a mapping"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    document: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(document + "\n")
    assert expected in _refused(capsys, params=tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            "register: {gate: {psnr_over_none: -.inf}}",
            "register.gate.psnr_over_none: Input should be a finite",
        ),
        ("evaluate: {strips: 9007199254740993}", "evaluate.strips"),
        ("train_sisr: {seed: 9007199254740993}", "train_sisr.seed"),
    ],
)
def test_numbers_that_kubeflow_would_change_are_refused(
    document: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("synthesize: {}\n" + document + "\n")
    assert expected in _refused(capsys, "--dry-run", params=tmp_path / "bad.yaml")


def test_large_and_infinite_numbers_are_named_at_any_depth() -> None:
    params = Path("p.yaml")
    require_exact(params, {"a": {"b": [1.5, 2**53]}, "c": True, "d": "inf"})
    with pytest.raises(RefsrError, match=r"p.yaml: a.b.1: 9007199254740993 is not exact"):
        require_exact(params, {"a": {"b": [1.5, 2**53 + 1]}})
    with pytest.raises(RefsrError, match=r"p.yaml: a.b.0: nan cannot be sent as JSON"):
        require_exact(params, {"a": {"b": [float("nan")]}})


def test_reevaluation_takes_the_raw_set_from_where_training_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command of the page, with the default params file."""
    command = ["--graph", "reevaluation", "--sisr", "s3://bucket/of/sisr", "--dry-run"]
    assert _submit(*command, params=ROOT / "params.yaml") == 0
    assert "\nsynthesize " in capsys.readouterr().out
    assert _submit(*command, "--raw", "s3://bucket/faces", params=ROOT / "params.yaml") == 0
    assert "\nsynthesize " not in capsys.readouterr().out


def test_uris_that_pods_cannot_reach_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pods need the URL of an MLflow server" in _refused(
        capsys,
        "--tracking-uri",
        "sqlite:///mlflow.db",
    )
    assert "pods cannot read folders" in _refused(capsys, "--raw", "data/vggface2")
    assert "--raw gs://faces/vggface2: not s3://BUCKET;" in _refused(
        capsys,
        "--raw",
        "gs://faces/vggface2",
    )
    assert "--pairs is required by --graph inference" in _refused(capsys, "--graph", "inference")
    message = _refused(capsys, "--tracking-uri", "http://me:hunter2@mlflow")
    assert "Secret" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--tracking-uri", "http://", "not an http(s)://HOST:PORT URL"),
        ("--tracking-uri", "http://[::1", "not an http(s)://HOST:PORT URL"),
        ("--endpoint", "http://[::1", "not an http(s):// URL"),
        ("--endpoint", "https://my host", "not an http(s):// URL"),
        ("--endpoint", "http://kfp:8888/#/runs", "not an http(s):// URL"),
        ("--tracking-uri", "http://mlflow/#/experiments/1", "not an http(s)://HOST:PORT URL"),
        ("--raw", "s3:/faces/x", "not s3://BUCKET"),
        ("--raw", "s3://[x", "not s3://BUCKET"),
        ("--raw", "s3://me@faces/x", "not s3://BUCKET"),
        ("--namespace", "Faces_1", "no name of a namespace"),
        ("--image", "https://registry.example/refsr", "no name of an image"),
        ("--image", "registry.example/Ref sr", "no name of an image"),
        ("--image", "registry.example/refsr:", "no name of an image"),
        ("--image", "refsr@sha256:12", "no name of an image"),
    ],
)
def test_what_is_mistyped_is_refused_before_anything_is_sent(
    option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refused(capsys, "--dry-run", option, value)
    assert f"{option} {value}: {expected}" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"repository": "../faces"}, "fetch.repository: ../faces is no URL; pods cannot read"),
        ({"endpoint": "s3.faces:8333"}, "fetch.endpoint: s3.faces:8333 is not an http(s)://"),
        ({"repository": "git@git.example:faces"}, ""),
        ({"repository": "ssh://git@git.example/faces", "endpoint": "http://s3.faces:8333"}, ""),
    ],
)
def test_a_fetch_names_what_pods_reach(
    changes: dict[str, str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "p.yaml"
    fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": "v1"}
    params.write_text(yaml.safe_dump({"fetch": fetch | changes}))
    if expected:
        assert f"{params}: {expected}" in _refused(capsys, "--dry-run", params=params)
        assert _submit("--dry-run", "--raw", "s3://faces/x", params=params) == 0
    else:
        assert _submit("--dry-run", params=params) == 0


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
