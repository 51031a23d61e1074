"""A password in a URI reaches no terminal, log, page, file or store,
whatever command runs and however it ends.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from registering import Pipeline

from components import shell
from pipelines import __main__ as kubeflow
from pipelines import backup
from refsr import redaction, steps
from refsr.__main__ import main
from refsr.integrations.mlflow_store import open_store
from tools.local_services import mlflow_server

ROOT = Path(__file__).parents[2]
WORD, TOKEN, KEY = "c4nary%40W0rd", "c4nary-t0ken-of-kfp", "c4nary-s3cret-key"
SPELLINGS = (WORD, "c4nary@W0rd", "c4nary%2540W0rd", TOKEN, KEY)
PROJECT = "register: {}\nsynthesize: {}\ncheckpoint: {}\nupscale_folder: {device: cpu}\n"
PROJECT += "validate: {min_train_identities: 1, min_test_identities: 1}\n"
PROJECT += (
    "evaluate: {bootstrap: 100, strips: 1, grid: 2, batch_size: 8, samples: 2, kid_images: 4}\n"
)
SHORT = "steps: 1, batch_size: 2, warmup_steps: 1, log_every: 1, image_every: 1"
PROJECT += f"train_sisr: {{{SHORT}, warm_start_step: 1, model: {{width: 16, blocks: 1}}}}\n"
PROJECT += f"train_refsr: {{{SHORT}}}\n"
PROJECT += "fetch: {repository: /nowhere, path: data/raw, revision: main, endpoint: 'http://127.0.0.1:9'}\n"
MODELS = ["--curated", "curated", "--sisr", "sisr", "--refsr", "refsr"]
TARGET = [
    "--endpoint",
    "{api}",
    "--tracking-uri",
    "http://store.example:5000",
    "--image",
    "refsr:1",
]
COMMANDS: dict[str, list[str]] = {
    "synthesize": ["--raw", "curated"],  # whose output it may not replace
    "curate": ["--raw", "s3://faces/raw", "--curated", "new"],
    "merge": ["curated", "--raw", "s3://faces/raw", "--curated", "new"],
    "fetch": ["--raw", "new"],
    "validate": ["--curated", "curated", "--validation", "validation"],
    "train_sisr": ["--curated", "curated", "--validation", "curated", "--sisr", "new"],
    "train_refsr": ["--curated", "curated", "--sisr", "sisr", "--refsr", "new"],
    "evaluate": [*MODELS, "--evaluation", "reports/evaluation"],
    "merge_evaluation": ["curated", *MODELS, "--evaluation", "merged"],
    "seeds": ["2", "--split", "test", "--output", "seeds", "--validation", "curated"],
    "register": [*MODELS, "--evaluation", "evaluation", "--registration", "reports/registration"],
    "checkpoint": ["--refsr", "fetched"],
    "upscale_folder": ["--refsr", "refsr", "--pairs", "pairs", "--upscaled", "upscaled"],
    "upscale": ["pairs/small/a.png", "-o", "larger.png"],
    "upscale-video": ["pairs/small/a.png", "-o", "larger.mp4"],
    "export": ["--onnx", "exported.onnx"],
    "push": ["pushed"],
    "pull": ["refsr", "-o", "pulled.safetensors"],
    "params": [],
    "serve": ["--model", "pairs/small/a.png"],
    "inspect": ["--curated", "curated", "--raw", "s3://faces/raw"],
    "calibrate": ["--raw", "s3://faces/raw"],
    "show": [],
    "describe": [],
    "doctor": ["--fix", "--s3", "s3://faces", "--kfp", "{api}"],
    "versions": [],
    "compare": ["1", "refsr", "--data", "curated", "--split", "test"],
    "approve": ["1", "--by", "alice"],
    "drift": ["refsr", "--data", "curated"],
    "promote": ["1"],
    "rollback": [],
    "transfer": ["--to", "{store}/other"],
    "import-caffe": ["refsr/model.safetensors", "-o", "imported.safetensors"],
}
SENT: dict[str, list[str]] = {
    "compile": [*TARGET, "--output", "package.yaml"],
    "submit": [*TARGET, "--output", "sent.yaml"],
    "schedule": [*TARGET, "--cron", "0 0 3 * * 0"],
    "upload": TARGET,
    "diff": TARGET,
    "watch": ["run", *TARGET],
    "cancel": ["run", *TARGET],
    "sweep": [*TARGET, "--output", "sweep.yaml", "--vary", "train_refsr.steps=1,2"],
    "trial": [*TARGET, "--graph", "search", "--set", "train_refsr.steps=2"],
    "reconcile": ["--endpoint", "{api}", "--tracking-uri", "{store}"],
}

ENDING_WELL = ("compile", "reconcile")  # which ask nothing of the server here


class Echo(BaseHTTPRequestHandler):
    """Refuses everything, and repeats in its answer what it was sent, as some proxies do."""

    def do_GET(self) -> None:
        is_healthz = self.path.endswith("healthz")
        self.send_response(200 if is_healthz else 400)
        self.end_headers()
        self.wfile.write(b"{}" if is_healthz else f"{self.path}\n{self.headers}".encode())

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def uris(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses with a password: `store` is a real MLflow server, `api` answers that it refuses,
    `database` is none.
    """
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with (
        mlflow_server(folder / "server", f"sqlite:///{folder}/mlflow.db") as store,
        ThreadingHTTPServer(("127.0.0.1", 0), Echo) as api,
    ):
        threading.Thread(target=api.serve_forever, daemon=True).start()
        there = f"someone:{WORD}@127.0.0.1:{api.server_port}"
        yield {
            "plain": store,
            "store": store.replace("://", f"://someone:{WORD}@"),
            "api": f"http://{there}",
            "database": f"postgresql+psycopg://someone:{WORD}@127.0.0.1:9/mlflow",
            "folder": str(folder),
        }
        api.shutdown()
    no_file_holds_it(folder)  # what the server logged and stored


@pytest.fixture(scope="module")
def project(uris: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a registered model, a pair of faces and an evaluation,
    that uses the store by its password.
    """
    folder = tmp_path_factory.mktemp("leaks") / "project"
    folder.mkdir()
    pipeline = Pipeline(uris["plain"], folder)
    pipeline.train(1)
    pipeline.register()
    (folder / "params.yaml").write_text(PROJECT)
    for name in ("pairs/small", "pairs/ref"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(folder / name / "a.png")
    return folder


@pytest.fixture
def secrets(uris: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment holds them, and nothing is known of them from before."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(redaction, "_remembered", set())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uris["store"])
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", uris["api"])
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return uris


def no_file_holds_it(folder: Path) -> None:
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for spelling in SPELLINGS:
            assert spelling.encode() not in data, path


def silent(printed: str) -> None:
    for spelling in SPELLINGS:
        assert spelling not in printed, printed


def test_every_command_is_tried() -> None:
    assert {*steps.STEPS, *steps.SIDE_STEPS} <= set(COMMANDS)
    for known, module in ((COMMANDS, "refsr"), (SENT, "pipelines")):
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        listed = [
            line.split()[0]
            for line in done.stdout.splitlines()
            if line.startswith("    ") and line[4] != " "
        ]
        names = {name.replace("_", "-") for name in known}
        assert names == {name for name in listed if name != "COMMAND"}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_gives_a_password_away(
    command: str, secrets: dict[str, str], project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for uri in (secrets["database"], secrets["store"]):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        words = [word.format(**secrets) for word in COMMANDS[command]]
        status = main([command.replace("_", "-"), *words])
        printed = "".join(capfd.readouterr())
        assert printed
        assert status == 0 or "refsr: error: " in printed
        silent(printed)
    no_file_holds_it(project)


@pytest.mark.parametrize("command", SENT)
def test_no_command_of_kubeflow_gives_a_password_away(
    command: str, secrets: dict[str, str], project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(**secrets) for word in SENT[command]]
    assert kubeflow.main([command, *words]) == (command not in ENDING_WELL)
    silent("".join(capfd.readouterr()))
    if command == "submit":
        for more in (
            ["--raw", f"s3://someone:{WORD}@faces/raw"],
            ["--tracking-uri", secrets["store"]],
        ):
            assert kubeflow.main([command, *words, *more]) == 1
            silent("".join(capfd.readouterr()))
    no_file_holds_it(project)


def test_a_back_up_gives_no_key_away(
    secrets: dict[str, str],
    project: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for action in ("put", "get"):
        assert backup.main([action, str(project / "dumps"), "s3://faces/dumps"]) == 1
        silent("".join(capfd.readouterr()))


def test_a_bug_in_a_task_gives_no_password_away(secrets: dict[str, str], tmp_path: Path) -> None:
    code = f"""
from components.shell import exit_with_message
with exit_with_message():
    raise ValueError("driver: {secrets["store"]}")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ValueError: driver: http://someone:***@" in done.stderr
    silent(done.stdout + done.stderr)


def test_a_task_gives_no_password_away(
    secrets: dict[str, str], project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Piece:
        def __init__(self, path: Path) -> None:
            self.path, self.uri, self.metadata = str(path), f"s3://faces/{path.name}", {}

    for uri in (secrets["store"], secrets["database"], secrets["api"]):
        metrics = Piece(tmp_path / "metrics")
        given = {
            "curated": Piece(project / "curated"),
            "validation": Piece(tmp_path / "validation"),
        }
        with pytest.raises(SystemExit) as ended:
            shell.run("validate", {"min_train_identities": 1000}, uri, metrics, **given)  # type: ignore[arg-type]
        silent(str(ended.value) + "".join(capfd.readouterr()))
    no_file_holds_it(tmp_path)


def test_what_the_store_keeps_holds_no_password(secrets: dict[str, str], project: Path) -> None:
    client = open_store(secrets["plain"]).MlflowClient()
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {"FAILED", "FINISHED"} <= {run.info.status for run in runs}
    silent(str([run.to_dictionary() for run in runs]))
    silent(str([dict(each) for each in client.search_model_versions()]))
