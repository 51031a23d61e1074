"""No password reaches a terminal, a log, a page or a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from registering import Pipeline

from pipelines.cluster import load_cluster
from refsr.config import Register, Validate
from refsr.errors import RefsrError
from refsr.integrations.tracking import start_run
from refsr.params import parse_section
from refsr.redaction import hide, holds_secret
from refsr.side_config import Fetch
from refsr.steps.transfer import transfer

ROOT = Path(__file__).parents[2]
CANARY = "c4nary%40W0rd"
SPELLINGS = (CANARY, "c4nary@W0rd", "c4nary%2540W0rd")
NOBODY = "127.0.0.1:9"
# The first goes through every command, the others through two.
URIS = (
    f"http://someone:{CANARY}@{NOBODY}",
    f"http://{NOBODY}/?password={CANARY}",
    f"postgresql+psycopg://someone:{CANARY}@{NOBODY}/mlflow",
    f"postgresql+psycopg://someone@{NOBODY}/mlflow?password={CANARY}",
    f"mysql://someone:{CANARY}@{NOBODY}/mlflow",
)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://u:pass@h:5000/x", "http://u:***@h:5000/x"),
        ("postgresql://u:pa/w@x@h/db", "postgresql://u:***@h/db"),
        ("https://ghp_abcdef@github.com/x.git", "https://***@github.com/x.git"),
        ("https://ghp_abc:x-oauth-basic@github.com/x", "https://***:***@github.com/x"),
        ("from https://h/a,http://u:pass@h to", "from https://h/a,http://u:***@h to"),
        ("host=h password=word user=u", "host=h password=*** user=u"),
        ("http://h/?x=1&access_token=word&y=2", "http://h/?x=1&access_token=***&y=2"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
    ],
)
def test_what_is_secret_is_masked(text: str, hidden: str) -> None:
    assert hide(text) == hidden
    assert hide(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/models:/refsr@champion",
        "models:/refsr@champion",
        "ssh://git@host/x.git",
        "git@host:x.git",
        "sqlite:////home/a b/c@d:e@f/mlflow.db",
        "s3://bucket/key:1@2",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide(text) == text
    assert not holds_secret(text)


@pytest.mark.parametrize("uri", URIS)
def test_no_command_gives_a_password_away(uri: str, tmp_path: Path) -> None:
    (tmp_path / "reports/evaluation").mkdir(parents=True)
    (tmp_path / "reports/evaluation/table.txt").write_text("a table\n")
    (tmp_path / "params.yaml").write_text("register: {}\nsynthesize: {}\n")
    refsr, pipelines = [sys.executable, "-m", "refsr"], [sys.executable, "-m", "pipelines"]
    target = ["--endpoint", uri, "--tracking-uri", uri, "--image", "refsr:1"]
    commands = [
        [*refsr, "show"],
        [*refsr, "doctor", "--kfp", uri, "--s3", uri],
        [*refsr, "promote", "1"],
        [*refsr, "transfer", "--to", uri, "--from", f"{uri}2"],
        [*refsr, "curate", "--raw", uri, "--curated", "curated"],
        [*refsr, "show", uri],
        [*pipelines, "submit", *target, "--dry-run"],
        [
            *pipelines,
            "submit",
            *target,
            "--raw",
            uri,
            "--tracking-uri",
            "http://h:5000",
            "--dry-run",
        ],
        [*pipelines, "compile", *target, "--raw", uri, "--output", "package.yaml"],
        [*pipelines, "watch", "run", *target],
    ]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": uri,
        "AWS_ENDPOINT_URL": uri,
    }
    running = []
    for command in commands if uri == URIS[0] else commands[:3:2]:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        running.append((command, done.stdout + done.stderr))
    for command, printed in running:
        assert printed, command
        for spelling in SPELLINGS:
            assert spelling not in printed, (command, printed)
    no_file_holds_it(tmp_path)


def test_what_a_run_keeps_holds_no_password(tracking_uri: str, tmp_path: Path) -> None:
    uri = URIS[0]
    with (
        pytest.raises(ValueError, match="c4nary"),
        start_run(tracking_uri, "validate", Validate()) as tracker,
    ):
        tracker.tags({"data.repository": uri})
        tracker.params({"uri": uri})
        raise ValueError(f"driver: {uri}")
    pipeline = Pipeline(tracking_uri, tmp_path)
    pipeline.train(1)
    pipeline.register()
    with pytest.raises(RefsrError, match=r"someone:\*\*\*@"):
        transfer(tracking_uri, uri, Register(), "1")
    with pytest.raises(ValueError, match="token"):
        Fetch(repository="https://ghp_abcdefgh@github.com/x", path="data/raw", revision="main")
    no_file_holds_it(tmp_path)


def no_file_holds_it(folder: Path) -> None:
    for path in folder.rglob("*"):
        for spelling in SPELLINGS:
            assert not path.is_file() or spelling.encode() not in path.read_bytes(), path


CLUSTERS = (
    "secrets: [{name: s3, env: {}, password: c4nary-word}]\n",
    "secrets: [c4nary-word]\n",
    "secrets: c4nary-word\n",
    "secrets: {name: {token: c4nary-word}}\n",
    "secret: {value: c4nary-word}\n",
    "state: {api_key: c4nary-word}\n",
    "target: {endpoint: {password: c4nary-word}}\n",
    "tasks: {curate: {cpu: {secret: [c4nary-word]}}}\n",
    "tasks: {curate: [{secret: c4nary-word}]}\n",
    "secrets:\n  - {name: s3, password: c4nary-word: x]\n",
    "password: c4nary-word\npassword: c4nary-word\n",
    "password: *c4nary\n",
    "password: !c4nary word\n",
    "password: !!int c4nary\n",
    "password: c4nary-\x00word\n",
)


@pytest.mark.parametrize("text", CLUSTERS)
def test_a_fault_in_a_cluster_file_does_not_show_a_secret(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(RefsrError) as caught:
        load_cluster(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "c4nary" not in str(caught.value)


def test_a_fault_in_a_params_file_does_not_show_a_secret() -> None:
    for values in (
        {"password": "c4nary-word"},
        {"repository": {"password": "c4nary-word"}},
        [{"token": "c4nary-word"}],
    ):
        with pytest.raises(RefsrError) as caught:
            parse_section("fetch", values)
        assert "c4nary" not in str(caught.value)


def test_a_value_that_is_no_secret_is_shown() -> None:
    with pytest.raises(RefsrError, match=r"train_sisr\.steps: .*, not 'many'"):
        parse_section("train_sisr", {"steps": "many"})


@pytest.mark.parametrize("name", ["PWD", "OLDPWD"])
def test_the_folder_of_the_shell_is_no_password(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/some/folder")
    assert hide("/some/folder/raw: no such file") == "/some/folder/raw: no such file"
    monkeypatch.setenv(f"MYSQL_{name}", "c4nary-word")
    assert hide("refused: c4nary-word") == "refused: ***"
