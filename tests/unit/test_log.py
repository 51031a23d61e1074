"""Log lines: where they go, what stands in them, what is held back."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import shell
from refsr import log
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.progress import Progress, track

ROOT = Path(__file__).parents[2]
PARAMS = (
    "synthesize: {train_identities: 1, test_identities: 1, views: 2, max_size: 90, defects: 0}\n"
)
LINE = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +synthesize: .+")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(log.JSON_VARIABLE, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield
    log.set_up()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        ("quiet", ["WARNING", "ERROR"]),
        ("normal", ["INFO", "WARNING", "ERROR"]),
        ("verbose", ["DEBUG", "INFO", "WARNING", "ERROR"]),
    ],
)
def test_levels_stage_and_time_in_text(
    verbosity: log.Verbosity, levels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log.set_up(verbosity)
    with log.stage("curate"):
        for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
            logging.getLogger("refsr.x").log(getattr(logging, level), "read %d", 3)
    matches = [re.fullmatch(r"[\d:]{8} (\w+) +curate: read 3", line) for line in _lines(capsys)]
    assert [match and match[1] for match in matches] == levels


def test_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up(as_json=True)
    with log.stage("curate"):
        logging.getLogger("components.x").warning("two\nlines of ü")
    (line,) = _lines(capsys)
    facts = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", facts.pop("time"))
    assert facts == {
        "level": "WARNING",
        "stage": "curate",
        "logger": "components.x",
        "message": "two\nlines of ü",
    }


def test_a_traceback_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up(as_json=True)
    try:
        raise ValueError("odd")
    except ValueError as error:
        logging.getLogger("refsr.x").exception("failed")
        log.exception(ValueError, error, error.__traceback__)
    for line in _lines(capsys):
        assert "ValueError: odd" in json.loads(line)["message"]


@pytest.mark.parametrize("as_json", [False, True])
def test_passwords_are_masked(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up(as_json=as_json)
    logging.getLogger("refsr.x").info("store %s", "postgresql://me:geheim1@host/db")
    log.error("store postgresql://me:geheim1@host/db")
    text = "\n".join(_lines(capsys))
    assert text.count("me:***@host") == 2
    assert "geheim1" not in text


def test_lines_are_json_in_a_pod_and_where_the_variable_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not log.json_by_default()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert log.json_by_default()
    monkeypatch.setenv(log.JSON_VARIABLE, "0")
    assert not log.json_by_default()


def test_a_component_logs_json_in_a_pod(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    ending, stage = shell.exit_with_message(), log.stage("curate")
    with pytest.raises(SystemExit) as ended, stage, ending:
        logging.getLogger("components.x").info("read")
        raise RefsrError("no faces")
    assert ended.value.code == 1
    facts = [json.loads(line) for line in _lines(capsys)]
    lines = [(fact["level"], fact["stage"], fact["message"]) for fact in facts]
    assert lines == [("INFO", "curate", "read"), ("ERROR", "curate", "no faces")]


@pytest.mark.parametrize("library", ["mlflow", "alembic", "py.warnings"])
def test_warnings_of_libraries_pass_with_v_alone(
    library: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verbosity, count in (("normal", 0), ("verbose", 1)):
        log.set_up(verbosity)  # type: ignore[arg-type]
        log.adopt(library)
        logging.getLogger(f"{library}.x").warning("deprecated")
        assert len(_lines(capsys)) == count, verbosity


def test_progress_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("refsr.progress.LOG_EVERY", 0.0)
    log.set_up()
    with Progress(total=4, done=1, desc="trained", unit="step") as progress:
        progress.show(loss="0.5")
        progress.update()
    assert list(track("ab", total=2, desc="read", unit="file")) == ["a", "b"]
    messages = [line.split(": ", 1)[1] for line in _lines(capsys)]
    assert messages == [
        "trained: 2 of 4 steps (50 %), loss 0.5",
        "read: 1 of 2 files (50 %)",
        "read: 2 of 2 files (100 %)",
    ]


def test_a_stage_prints_its_result_and_logs_the_rest(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    command = [sys.executable, "-m", "refsr", "synthesize", "--raw", "raw"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"synthesize: .* -> raw\n", done.stdout)
    lines = done.stderr.splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert lines[0].endswith("synthesize: started")
    assert "finished in" in lines[-1]


@pytest.mark.parametrize("words", [["--log-json", "show"], ["show", "--log-json"]])
def test_an_error_is_a_line_of_json_where_asked_for(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    (line,) = _lines(capsys)
    facts = json.loads(line)
    assert (facts["level"], facts["stage"]) == ("ERROR", "show")
    assert facts["message"].startswith("reports/evaluation: no evaluation here yet")


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    code = (
        "import logging; from refsr import log; from refsr.progress import Progress\n"
        "log.set_up()\n"
        "with Progress(total=2, desc='read', unit='file') as progress:\n"
        "    progress.update(2); logging.getLogger('refsr').info('a line')\n"
    )
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, stderr=writer, check=True)
    os.close(writer)
    shown = os.read(reader, 100_000).decode()
    os.close(reader)
    assert "read: 100%" in shown
    assert re.search(r"INFO +refsr: a line\r\n", shown)
