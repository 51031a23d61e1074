"""Two processes change the champion at once: one wins, the other is told, and the history is complete."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import let_others_in
from registering import Pipeline

from refsr.errors import RefsrError
from refsr.integrations import mlflow_lock
from refsr.integrations.registry import Registry
from refsr.integrations.tracking import open_store
from tools import local_services

ROUNDS = 3
ROOT = Path(__file__).parents[2]
# Each reads the champion, says so, and goes on only when both have.
RACE = """
import sys
from refsr.errors import RefsrError
from refsr.integrations.registry import Registry
uri, kind, version = sys.argv[1:]
registry = Registry(uri, "refsr")
expected = registry.champion()
if kind == "rollback":
    resolve = registry.resolve
    def paused(name):
        found = resolve(name)
        print("ready", flush=True); sys.stdin.readline()
        return found
    registry.resolve = paused
else:
    print("ready", flush=True); sys.stdin.readline()
try:
    registry.rollback() if kind == "rollback" else registry.make_champion(version, expected)
except RefsrError as error:
    sys.exit(str(error))
"""


@contextlib.contextmanager
def store(kind: str, folder: Path, empty_store: Path) -> Iterator[str]:
    if kind == "sqlite":
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        yield f"sqlite:///{folder}/mlflow.db"
        return
    try:
        local_services.postgres_program("initdb")
    except RefsrError as error:
        pytest.skip(f"NOT TESTED, promotions on PostgreSQL: {error}")
    let_others_in(folder)
    with (
        local_services.postgres(folder / "postgres") as database,
        local_services.mlflow_server(folder / "mlflow", database) as server,
    ):
        yield server


def race(uri: str, *jobs: tuple[str, str]) -> list[str]:
    """Run these at once; what each complained of, "" where it did not."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, uri, *job], env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for job in jobs
    ]
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=120)[1].strip() for process in running]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_of_two_wins(kind: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with store(kind, tmp_path, empty_store) as uri:
        pipeline = Pipeline(uri, tmp_path)
        for seed in range(1, 4):
            pipeline.train(seed)
            pipeline.register()
        registry = Registry(uri, "refsr")
        history = ["1"]
        for _ in range(ROUNDS):
            others = sorted({"1", "2", "3"} - {history[-1]})
            told = race(uri, *(("promote", version) for version in others))
            (loser,) = [each for each in told if each]
            winner = registry.champion()
            assert winner == others[told.index("")]
            assert f"the champion changed from version {history[-1]} to version {winner} meanwhile" in loser
            history.append(winner)
            assert former(registry) == history[:-1]
        told = race(uri, ("rollback", ""), ("rollback", ""))
        (loser,) = [each for each in told if each]
        assert "the champion changed" in loser
        assert registry.champion() == history[-2]
        assert former(registry) == history[:-2]
        assert [each.name for each in open_store(uri).MlflowClient().search_registered_models()] == ["refsr"]


def test_a_lock_whose_holder_was_killed_is_passed_over(tracking_uri: str) -> None:
    client = open_store(tracking_uri).MlflowClient()
    code = "import sys; sys.exit(0)"
    dead = subprocess.Popen([sys.executable, "-c", code])
    dead.wait()
    holder = {"id": "x", "host": mlflow_lock.socket.gethostname(), "pid": dead.pid}
    client.create_registered_model("refsr.lock-0", description=json.dumps(holder))
    with mlflow_lock.locked(client, "refsr"):
        held = [each.name for each in client.search_registered_models()]
    assert held == ["refsr.lock-0", "refsr.lock-1"]
    assert not client.search_registered_models()


def test_a_lock_of_another_machine_expires(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_lock, "EXPIRY", 0.5)
    client = open_store(tracking_uri).MlflowClient()
    client.create_registered_model("refsr.lock-0", description=json.dumps({"id": "x", "host": "other", "pid": 1}))
    with mlflow_lock.locked(client, "refsr"):
        pass
    assert not client.search_registered_models()


def former(registry: Registry) -> list[str]:
    model = registry._model()
    assert model
    found: list[str] = json.loads(model.tags.get("former_champions", "[]"))
    return found
