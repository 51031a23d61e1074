"""Two processes register or change the champion at once: both end well, or one gets a message."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import let_others_in
from registering import Pipeline

from refsr.__main__ import main
from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations import mlflow_lock
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import Registry
from refsr.steps import approval
from tools import local_services

ROUNDS = 2
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
        version = resolve(name)
        print("ready", flush=True); sys.stdin.readline()
        return version
    registry.resolve = paused
else:
    print("ready", flush=True); sys.stdin.readline()
try:
    registry.rollback() if kind == "rollback" else registry.make_champion(version, expected)
except RefsrError as error:
    sys.exit(str(error))
"""

# One registers, another registers or promotes;
# each waits where the gate has passed and nothing is written yet.
REGISTRATION = """
import sys
from pathlib import Path
from refsr import steps
from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations.registry import Registry
uri, folder = sys.argv[1:]
log = Registry.log
def paused(self, *given):
    model = log(self, *given)
    print("ready", flush=True); sys.stdin.readline()
    return model
Registry.log = paused
names = ("curated", "sisr", "refsr", "evaluation", "registration")
paths = {name: Path(folder) / name for name in names}
try:
    steps.run("register", Register(), tracking_uri=uri, **paths)
except RefsrError as error:
    sys.exit(str(error))
"""
# Passes the check before its last write, is stopped there, and goes on when its lease is over.
STOPPED = """
import os, signal, sys
from refsr.errors import RefsrError
from refsr.integrations import mlflow_lock
from refsr.integrations.registry import Registry
uri, stop = sys.argv[1:]
mlflow_lock.EXPIRY = 3.0
registry = Registry(uri, "refsr")
count = 0
def stopped(which):
    def call(self, *given):
        global count
        count += 1
        if which == "before" and count == int(stop):
            os.kill(os.getpid(), signal.SIGSTOP)
        require(self, *given)
        if which == "after" and count == int(stop):
            os.kill(os.getpid(), signal.SIGSTOP)
    return call
require = mlflow_lock.Held.require
mlflow_lock.Held.require = stopped("before" if stop[0] == "b" else "after")
stop = stop[1:]
try:
    registry.make_champion("2", "1")
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


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    )


def race(uri: str, *jobs: tuple[str, str]) -> list[str]:
    """Run these at once; what each complained of, "" where it did not."""
    return together([start(RACE, uri, *job) for job in jobs])


def together(running: "list[subprocess.Popen[str]]") -> list[str]:
    """Let all go on when all are ready; what each complained of."""
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=120)[1].strip() for process in running]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_of_two_wins(
    kind: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with store(kind, tmp_path, empty_store) as uri:
        register_first(uri, tmp_path)
        pipeline = Pipeline(uri, tmp_path)
        pipeline.train(3)
        pipeline.register()
        registry = Registry(uri, "refsr")
        history = ["1"]
        for _ in range(ROUNDS):
            others = sorted({"1", "2", "3"} - {history[-1]})
            messages = race(uri, *(("promote", version) for version in others))
            (loser,) = [each for each in messages if each]
            winner = registry.champion()
            assert winner == others[messages.index("")]
            assert (
                f"the champion changed from version {history[-1]} to version {winner} meanwhile"
                in loser
            )
            history.append(winner)
            assert former(registry) == history[:-1]
        messages = race(uri, ("rollback", ""), ("rollback", ""))
        (loser,) = [each for each in messages if each]
        assert "the champion changed" in loser
        assert registry.champion() == history[-2]
        assert former(registry) == history[:-2]
        assert [
            each.name for each in open_store(uri).MlflowClient().search_registered_models()
        ] == ["refsr"]
        register_the_same(uri, tmp_path)


def trained(uri: str, folder: Path, seed: int) -> str:
    folder.mkdir()
    Pipeline(uri, folder).train(seed)
    return str(folder)


def register_first(uri: str, folder: Path) -> None:
    """Two register at once where nothing is registered: the second is compared with the first."""
    places = [trained(uri, folder / f"first-{seed}", seed) for seed in (1, 2)]
    assert together([start(REGISTRATION, uri, place) for place in places]) == ["", ""]
    registry = Registry(uri, "refsr")
    assert registry.versions() == ["1", "2"]
    assert registry.aliases() == {"candidate": "2", "champion": "1"}
    compared = [registry.tags(version)["gate.champion"] for version in ("1", "2")]
    assert compared == ["none yet", "version 1, on the same test images"]


def register_the_same(uri: str, folder: Path) -> None:
    """Two register the same files while another is promoted:
    one version, and the promotion is complete.
    """
    registry = Registry(uri, "refsr")
    champion, history = registry.champion(), former(registry)
    assert champion
    other = next(version for version in ("1", "2", "3") if version != champion)
    places = [trained(uri, folder / f"same-{each}", 4) for each in range(2)]
    running = [start(REGISTRATION, uri, place) for place in places]
    assert together([*running, start(RACE, uri, "promote", other)]) == [""] * 3
    assert registry.versions() == ["1", "2", "3", "4"]
    assert registry.aliases() == {"candidate": "4", "champion": other}
    assert former(registry) == [*history, champion]


@pytest.fixture(scope="module")
def three(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three versions, the first of them champion."""
    folder = tmp_path_factory.mktemp("three") / "project"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    pipeline = Pipeline(f"sqlite:///{folder}/mlflow.db", folder)
    for seed in range(1, 4):
        pipeline.train(seed)
        pipeline.register()
    return folder


def test_an_approved_version_is_promoted_once(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who and when is recorded; a promotion that was rolled back needs a new approval."""
    shutil.copytree(three, tmp_path / "project")
    uri = f"sqlite:///{tmp_path}/project/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("register: {}\n")
    registry = Registry(uri, "refsr")
    champions = []
    for words in (
        ["promote", "--approved"],
        ["approve", "2"],
        ["promote", "--approved"],
        ["promote", "--approved"],
        ["rollback"],
        ["promote", "--approved"],
        ["approve", "2"],  # which a later approval replaces
        ["approve", "candidate", "--by", "bob"],
        ["promote", "--approved"],
        ["promote", "--approved"],
    ):
        assert main(words) == 0, words
        champions.append(registry.champion())
    assert champions == ["1", "1", "2", "2", "1", "1", "1", "1", "3", "3"]
    printed = capsys.readouterr().out
    assert printed.count("no version of refsr has an approval that was not used") == 4
    tags = registry.tags("3")
    assert tags["approved.promoted"] == f"approved by bob at {tags['approved.at']}"
    assert registry.tags("2")["approved.by"] == "alice"
    # A person has only to name himself in MLflow's pages.
    registry.set_tags("1", {"approved.by": "carol"})
    monkeypatch.setattr("refsr.steps.approval.promote", _refuse)
    assert main(["promote", "--approved"]) == 1
    assert "the gate" in capsys.readouterr().err
    monkeypatch.undo()
    assert approval.promote_approved(uri, Register())
    assert "approved by carol" in registry.tags("1")["approved.promoted"]
    assert registry.champion() == "1"
    with pytest.raises(RefsrError, match="pass --by NAME"):
        approval.approve(uri, "refsr", "2", " ")


def _refuse(*_: object) -> None:
    raise RefsrError("the gate")


@pytest.mark.parametrize("moment", ["before 2", "before 3", "after 2"])
def test_a_promotion_that_outlives_its_lease_never_ends_as_if_it_had_won(
    moment: str, three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_lock, "EXPIRY", 3.0)
    shutil.copytree(three, tmp_path / "project")
    tracking_uri = f"sqlite:///{tmp_path}/project/mlflow.db"
    which, number = moment.split()
    stopped = start(STOPPED, tracking_uri, f"{which[0]}{number}")
    assert os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
    registry = Registry(tracking_uri, "refsr")
    champion = registry.champion()  # "2" where only the last check is left to do
    registry.make_champion("3", champion)
    stopped.send_signal(signal.SIGCONT)
    message = stopped.communicate(timeout=60)[1]
    assert stopped.returncode == 1
    assert "was paused for too long while it changed 'refsr'" in message
    if which == "before":
        assert registry.champion() == "3"
        assert former(registry)[-1] == champion
    else:  # no store can refuse a request that was on its way; it says so
        assert "check which version is champion now" in message
    assert registry.rollback()


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


def test_a_lock_of_another_machine_expires(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_lock, "EXPIRY", 0.5)
    client = open_store(tracking_uri).MlflowClient()
    client.create_registered_model(
        "refsr.lock-0", description=json.dumps({"id": "x", "host": "other", "pid": 1})
    )
    with mlflow_lock.locked(client, "refsr"):
        pass
    assert not client.search_registered_models()


def former(registry: Registry) -> list[str]:
    model = registry._model()
    assert model
    versions: list[str] = json.loads(model.tags.get("former_champions", "[]"))
    return versions
