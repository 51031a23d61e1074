"""What is refused before anything is submitted, and what a Kubeflow API is sent."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import submit
from pipelines.package import immutable_image
from pipelines.resources import load_cluster
from refsr.errors import RefsrError

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"  # the port that discards; nothing listens there


class Api(ThreadingHTTPServer):
    """As much of the Kubeflow Pipelines API as a submission touches; it keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: list[tuple[str, str, Any, str | None]] = []


class Answers(BaseHTTPRequestHandler):
    server: Api

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.partition("?")[0]
        self.server.seen.append((method, path, body, self.headers.get("authorization")))
        answer = {"experiment_id": "e1"} if path.endswith("experiments") and method == "POST" else {"run_id": "r1"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({} if method == "GET" else answer).encode())

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")


def _submit(*arguments: str, params: Path | str = ROOT / "params/tiny.yaml", endpoint: str = NOBODY) -> int:
    return submit.main(["--params", str(params), "--endpoint", endpoint, "--image", "refsr:1", *arguments])


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str, **options: Any) -> str:
    assert _submit(*arguments, **options) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("refsr: error: ")
    return told.err


def test_a_dry_run_asks_nobody(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _submit("--dry-run", "--output", str(tmp_path / "p.yaml")) == 0
    assert "refsr:1" in capsys.readouterr().out
    assert len(list(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))) == 2
    assert _submit("--dry-run", "--raw", "s3://bucket/vggface2", params=ROOT / "params/vggface2.yaml") == 0


def test_a_run_is_started_with_every_parameter(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "t0ken")
    endpoint = f"http://127.0.0.1:{api.server_port}"
    assert _submit("--namespace", "faces", "--experiment", "tries", endpoint=endpoint) == 0
    assert "t0ken" not in (printed := capsys.readouterr().out)
    assert f"{endpoint}/#/runs/details/r1" in printed
    sent = {path: (body, sender) for method, path, body, sender in api.seen if method == "POST"}
    experiment, _ = sent["/apis/v2beta1/experiments"]
    assert (experiment["display_name"], experiment["namespace"]) == ("tries", "faces")
    run, authorization = sent["/apis/v2beta1/runs"]
    assert authorization == "Bearer t0ken"
    assert run["experiment_id"] == "e1"
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "refsr-training"
    given = run["runtime_config"]["parameters"]
    assert given["tracking_uri"] == "http://mlflow:5000"
    assert given["train_sisr"]["steps"] == 6
    assert given["evaluate"]["batch_size"] == 32  # a default, told all the same
    assert "t0ken" not in json.dumps(run)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("curate: {hr_sise: 64}", "bad.yaml: curate.hr_sise: unknown parameter"),
        ("evaluate: {bootstrap: 8.5}", "bad.yaml: evaluate.bootstrap"),
        ("train: {}", "bad.yaml: unknown section 'train'"),
        ("curate: {}", "bad.yaml: no section `synthesize`"),
        ("- a list", "bad.yaml: a mapping"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    document: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(document + "\n")
    assert told in _refused(capsys, params=tmp_path / "bad.yaml")


def test_what_a_pod_could_not_reach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pods can reach an MLflow server only" in _refused(capsys, "--tracking-uri", "sqlite:///mlflow.db")
    assert "pods cannot read folders" in _refused(capsys, "--raw", "data/vggface2")
    told = _refused(capsys, "--tracking-uri", "http://me:hunter2@mlflow")
    assert "Secret" in told
    assert "hunter2" not in told


def test_an_endpoint_that_is_none_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--endpoint {NOBODY}: no answer" in _refused(capsys)
    assert "not http(s)://" in _refused(capsys, endpoint="kfp.example")


def test_endpoint_and_store_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["--params", str(ROOT / "params/tiny.yaml"), "--image", "refsr:1", "--dry-run"]
    with pytest.raises(SystemExit):
        submit.main(command)
    monkeypatch.setenv("KFP_ENDPOINT", NOBODY)
    assert submit.main(command) == 0


def test_an_image_is_named_by_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = f"refsr@sha256:{'0' * 64}"
    assert immutable_image("registry:5000/team/refsr:v1") == "registry:5000/team/refsr:v1"
    assert immutable_image(digest) == digest
    with pytest.raises(RefsrError, match="latest"):
        immutable_image("registry:5000/refsr:latest")
    monkeypatch.setattr("pipelines.package.git_revision", lambda: ("abc123", False))
    assert immutable_image("registry:5000/refsr") == "registry:5000/refsr:abc123"
    monkeypatch.setattr("pipelines.package.git_revision", lambda: ("abc123", True))
    with pytest.raises(RefsrError, match="files differ from the last commit"):
        immutable_image("refsr")
    monkeypatch.setattr("pipelines.package.git_revision", lambda: (None, False))
    with pytest.raises(RefsrError, match="no git checkout"):
        immutable_image("refsr")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("tasks: {train: {gpus: 1}}", "tasks.train: unknown task"),
        ("tasks: {train_sisr: 1}", "tasks.train_sisr: a mapping is expected, not 1"),
        ("tasks: {train_sisr: {memory: lots}}", "tasks.train_sisr.memory"),
        ("tasks: {train_sisr: {gpu: 1}}", "tasks.train_sisr.gpu"),
        ("gpus: {}", "gpus"),
        ("secrets: [{name: mlflow, value: hunter2}]", "secrets.0"),
        ("tasks: 1", "a mapping is expected"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_bad_cluster_file_is_refused_by_name(document: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(document + "\n")
    with pytest.raises(RefsrError) as caught:
        load_cluster(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)
