"""DVC's own locks are shown as what they are: real DVC commands side by side."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import run_in

from refsr import doctor
from refsr.__main__ import main
from refsr.integrations.dvc_lock import Holder, busy, holders

STAGE = (
    "stages:\n  one:\n    cmd: while [ ! -f go ]; do sleep 0.1; done; echo a > a\n    outs: [a]\n"
)
# Holds the lock of the repository, as DVC does while it reads it.
LOCKED = (
    "import sys; from dvc.repo import Repo\n"
    "with Repo().lock: print('ready', flush=True); sys.stdin.readline()"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text(STAGE)
    (tmp_path / "deep").mkdir()
    return tmp_path


def test_a_running_repro_is_named_with_its_process(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc = [sys.executable, "-m", "dvc", "repro"]
    running = subprocess.Popen(
        dvc, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        while not any(each.command == "dvc repro" for each in holders(project)):
            assert running.poll() is None, running.communicate()
            time.sleep(0.1)
        assert holders(project / "deep") == [Holder(running.pid, "dvc repro")]
        assert main(["doctor", "--dvc"]) == 1
        message = capsys.readouterr().err
        assert message.startswith(
            f"refsr: error: another DVC command is running in {project} and holds DVC's lock: "
        )
        advice = (
            f"process {running.pid} (`dvc repro`); wait for its end, "
            f"or stop it with `kill {running.pid}`"
        )
        assert advice in message
        (finding,) = doctor.dvc(project)
        assert finding.state == "warn"
        assert str(running.pid) in run_in(
            project, *dvc, status=255
        )  # DVC says so, too, and the first goes on
    finally:
        (project / "go").touch()
        printed = running.communicate(timeout=120)[0]
    assert running.returncode == 0, printed
    assert (project / "a").read_text() == "a\n"
    assert main(["doctor", "--dvc"]) == 0
    (finding,) = doctor.dvc(project)
    assert finding.state == "ok"


def test_the_lock_of_the_repository_is_named(project: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED], cwd=project, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "ready\n"
        assert f"process {process.pid} (`" in busy(project)
        process.stdin.write("go\n")
        process.stdin.flush()
        process.wait(60)
    assert busy(project) == ""


def test_locks_of_the_dead_and_damaged_ones_count_as_none(project: Path) -> None:
    locks = project / ".dvc/tmp"
    locks.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (locks / "rwlock").write_text(
            json.dumps({"write": {"/a": {"pid": pid, "cmd": "dvc repro"}}, "read": {}})
        )
        (locks / "lock").write_text(f" {pid}\n")
        assert holders(project) == []
    for text in (
        "",
        "[]",
        '{"write": 3}',
        '{"read": {"a": [{}]}}',
        '{"write": {"a": {"pid": "x", "cmd": ""}}}',
    ):
        (locks / "rwlock").write_text(text)
        assert holders(project) == []
