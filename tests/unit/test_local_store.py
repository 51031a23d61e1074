"""A local store is made whole or not at all, and goes with its folder."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import run_in
from registering import Pipeline

from refsr.config import Register, Validate
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import CHECKPOINT, Registry
from refsr.integrations.tracking import start_run
from refsr.steps.register import promote

ROOT = Path(__file__).parents[2]
OPEN = "from refsr.integrations.tracking import start_run; from refsr.config import Validate\n"
OPEN += "with start_run('sqlite:///mlflow.db', 'validate', Validate()): pass"


@pytest.fixture(scope="module")
def made(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions, the first of them champion."""
    folder = tmp_path_factory.mktemp("made") / "a project"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    pipeline = Pipeline(f"sqlite:///{folder}/mlflow.db", folder)
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    (folder / "params.yaml").write_text("register: {}\n")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The project, in a folder of the test's own, opened there once."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    open_store(f"sqlite:///{folder}/mlflow.db")
    yield folder
    for path in tmp_path.iterdir():
        path.chmod(0o755)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def use(folder: Path) -> None:
    """All that a project is used for; what it writes lies in its own folder."""
    uri = f"sqlite:///{folder}/mlflow.db"
    assert promote(uri, Register(), "2") == "2"
    fetched = Registry(uri, "refsr").fetch("1", CHECKPOINT, folder / "fetched")
    assert fetched.stat().st_size
    (folder / "note.txt").write_text("new")
    with start_run(uri, "validate", Validate()) as tracker:
        tracker.artifact(folder / "note.txt")
        run = tracker.run_id
    assert list(folder.glob(f"mlruns/*/{run}/artifacts/note.txt"))


@pytest.mark.parametrize("how", ["copied", "moved", "legacy copied", "read-only copied"])
def test_a_project_works_after_its_folder_is_copied_or_moved(
    how: str, project: Path, tmp_path: Path
) -> None:
    if how == "legacy copied":
        with sqlite3.connect(project / "mlflow.db") as store:
            store.execute("DROP TABLE refsr_store")
        store.close()
    there = tmp_path / "elsewhere" / "of the same #1 100%"
    there.parent.mkdir()
    before = files(project)
    if how == "read-only copied":  # the original can be read only, the copy can be written to
        (project / "mlflow.db").chmod(0o444)
        project.chmod(0o555)
    if how == "moved":
        project.rename(there)
    else:
        shutil.copytree(project, there)
        for path in (there, there / "mlflow.db"):
            path.chmod(0o755)
    use(there)
    if how != "moved":
        assert files(project) == before
        for path in (project, project / "mlflow.db"):
            path.chmod(0o755)
        use(project)


def test_a_read_only_project_is_read_and_not_written_to(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there = tmp_path / "mounted"
    shutil.copytree(project, there)
    shutil.rmtree(project)
    (there / "mlflow.db").chmod(0o444)
    there.chmod(0o555)
    before = files(there)
    uri = f"sqlite:///{there}/mlflow.db"
    assert Registry(uri, "refsr").fetch("champion", CHECKPOINT, tmp_path / "fetched").stat().st_size
    with pytest.raises(RefsrError, match="may not be written to; copy its folder"):
        promote(uri, Register(), "2")
    with (
        pytest.raises(RefsrError, match="may not be written to; copy its folder"),
        start_run(uri, "x", Validate()),
    ):
        pass
    assert files(there) == before
    copy = tmp_path / "copy"
    shutil.copytree(there, copy)
    for path in (copy, copy / "mlflow.db"):
        path.chmod(0o755)
    use(copy)
    assert files(there) == before
    assert not list((tmp_path / "here").iterdir())


FORKED = """
import os, random, signal, sys, threading, time
from pathlib import Path
from refsr.integrations import local_store, moved_store
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # imported once, for all
draw = random.Random(11)
began = time.monotonic()
local_store.prepare("sqlite:///whole.db")
lasts = time.monotonic() - began
os.unlink("whole.db")
for _ in range(8):
    delay = draw.uniform(0, lasts)
    child = os.fork()
    if not child:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        local_store.prepare("sqlite:///mlflow.db")
        time.sleep(60)
    os.waitpid(child, 0)
    if Path("mlflow.db").exists():
        tables = moved_store.recorded(Path("mlflow.db"))
        assert tables == os.path.realpath("mlflow.db"), tables
        os.unlink("mlflow.db")
"""


def test_kills_at_random_moments_leave_a_whole_store_or_none(tmp_path: Path) -> None:
    run_in(tmp_path, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", FORKED)
    open_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_kills_while_a_store_is_made_leave_it_usable(tmp_path: Path) -> None:
    draw = random.Random(7)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", OPEN], cwd=tmp_path, env=environment)
        until = time.monotonic() + 60
        while (
            not list(tmp_path.glob("*mlflow.db*"))
            and process.poll() is None
            and time.monotonic() < until
        ):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "mlflow.db").exists():
            open_store(f"sqlite:///{tmp_path}/mlflow.db")
            (tmp_path / "mlflow.db").unlink()
    run_in(tmp_path, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", OPEN)
    assert not list(tmp_path.glob("*.partial*"))


def test_three_processes_make_one_store(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    assert [process.communicate(timeout=300)[1] for process in running] == [b""] * 3
    client = open_store(f"sqlite:///{tmp_path}/mlflow.db").MlflowClient()
    experiment = client.get_experiment_by_name("refsr")
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_a_store_left_unfinished_is_explained(empty_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_store, path)
    with sqlite3.connect(path) as store:
        store.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    store.close()
    with pytest.raises(
        RefsrError, match=r"left unfinished when it was created, and holds no run: `mv .*mlflow\.db"
    ):
        open_store(f"sqlite:///{path}")
