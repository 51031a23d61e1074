"""Kill every stage at random moments: what is run again ends in the bytes of a run left alone.

    PYTHONPATH=tests:. python tests/kill_drills.py --kills 1000 --seed 0

After each kill the stage is run again until it ends; then its output, the store
(PRAGMA integrity_check) and the state of its runs are checked. One process imports everything and
forks a child for each try, so that a try takes no longer than the stage itself. Prints one line of
JSON; the exit status is 1 after a fault.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import mlflow.pyfunc  # noqa: F401 - imported here once, not in each child
import torch  # noqa: F401
from drilled_stages import PATHS, Drill, drill, section, uri

from refsr import steps
from refsr.integrations.mlflow_store import open_store
from refsr.io.marker import MARKER


def attempt(
    work: Callable[[Path], None], folder: Path, kill_after: float | None = None
) -> tuple[int, float]:
    """(exit status, seconds) of a forked try; its whole process group is killed after so many
    seconds.
    """
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        _child(work, folder)
    if kill_after is not None:
        _sleep_beside(pid, started + kill_after)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # workers of its pools
    return os.waitstatus_to_exitcode(status), time.monotonic() - started


def _child(work: Callable[[Path], None], folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        work(folder)
        (folder / "modules.json").write_text(json.dumps(list(sys.modules)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _sleep_beside(pid: int, until: float) -> None:
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)


def prepare(root: Path, names: list[str]) -> dict[str, tuple[Path, float, str]]:
    """Each stage left alone: (the store before it, seconds it takes, digest of its result)."""
    whole = root / "whole"
    whole.mkdir()
    _succeed(lambda folder: open_store(uri(folder)) and None, whole)
    before: dict[str, tuple[Path, float, str]] = {}
    last = max(list(PATHS).index(name) for name in names)
    for name in list(PATHS)[: last + 1]:
        if name == "merge":
            _succeed(lambda folder: _part(folder), whole)
        if name == "promote":
            _succeed(lambda folder: _second_version(folder), whole)
        store = root / f"before-{name}.db"
        shutil.copyfile(whole / "mlflow.db", store)
        one = drill(name, whole)
        seconds = _succeed(one.run, whole)
        _import_as_child(whole)
        before[name] = store, seconds, _answer(one, whole)
    return {name: before[name] for name in names}


def _import_as_child(folder: Path) -> None:
    """Import here what a stage imported late, so that later tries find it."""
    warnings.simplefilter("ignore")
    for name in json.loads((folder / "modules.json").read_text()):
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _part(whole: Path) -> None:
    paths = {"raw": whole / "raw", "curated": whole / "parts"}
    steps.run("curate", section("curate"), tracking_uri=uri(whole), shard="1/2", **paths)


def _second_version(whole: Path) -> None:
    """The same model with an evaluation of other bytes."""
    shutil.copytree(whole / "evaluation", whole / "evaluation-2")
    path = whole / "evaluation-2/metrics.json"
    path.write_text(path.read_text() + "\n")
    (path.parent / MARKER).unlink()  # it vouches for other bytes
    paths = {name: whole / name for name in ("curated", "sisr", "refsr")}
    paths |= {"evaluation": whole / "evaluation-2", "registration": whole / "registration-2"}
    steps.run("register", section("register"), tracking_uri=uri(whole), **paths)


def _succeed(work: Callable[[Path], None], folder: Path) -> float:
    status, seconds = attempt(work, folder)
    if status:
        raise SystemExit((folder / "log.txt").read_text()[-4000:])
    return seconds


def _answer(one: Drill, folder: Path) -> str:
    """Its result, asked in a child: the process that forks opens no store."""
    _succeed(lambda inside: (inside / "answer.txt").write_text(one.result(inside)) and None, folder)
    return (folder / "answer.txt").read_text()


def check(one: Drill, folder: Path, expected: str) -> list[str]:
    """The faults after a stage that was killed and then ended."""
    faults = []
    result = _answer(one, folder)
    if result != expected:
        other = sorted(set(result.splitlines()) ^ set(expected.splitlines()))
        faults.append(f"another result than that of the run left alone: {other}")
    if left := [path.name for path in folder.glob("*.partial*")]:
        faults.append(f"left behind: {left}")
    with sqlite3.connect(folder / "mlflow.db") as store:
        sound = store.execute("PRAGMA integrity_check").fetchone()[0]
        query = "SELECT count(*) FROM runs WHERE status = 'RUNNING' AND name != 'pipeline'"
        running = store.execute(query).fetchone()[0]
        faults += _series_faults(store, one.name)
    if sound != "ok":
        faults.append(f"store: {sound}")
    if running and one.name != "promote":  # which opens no run
        faults.append(f"{running} runs are RUNNING, and no process is")
    return faults


def _series_faults(store: sqlite3.Connection, name: str) -> list[str]:
    """Whether the one finished run of a training has each step, and each once."""
    if not name.startswith("train_"):
        return []
    query = (
        "SELECT count(*), count(DISTINCT step) FROM runs JOIN metrics USING (run_uuid)"
        " WHERE runs.name = ? AND status = 'FINISHED' AND key = 'loss' GROUP BY run_uuid"
    )
    rows = store.execute(query, (name,)).fetchall()
    steps = section(name).steps  # type: ignore[attr-defined]
    return [] if rows == [(steps, steps)] else [f"points and steps of its runs: {rows}"]


def _damage(draw: random.Random, folder: Path) -> str:
    """Flip a bit of the newest resume point of a training, now and then."""
    saved = sorted(folder.glob("*.partial/state/*.pt"))
    if not saved or draw.random() < 0.5:
        return ""
    data = bytearray(saved[-1].read_bytes())
    place = draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)
    saved[-1].write_bytes(data)
    return f", byte {place} of {saved[-1].name} flipped"


def run_drills(root: Path, names: list[str], kills: int, seed: int) -> dict[str, Any]:
    """Kill the stages in turn, `kills` times in all."""
    draw = random.Random(seed)
    before = prepare(root, names)
    counts = {"kills": 0, "ended_before": 0}
    faults: list[str] = []
    number = 0
    lasts = {name: seconds for name, (_, seconds, _) in before.items()}
    turns = names + [name for name in names if name.startswith("train_")]  # the longest in use
    while counts["kills"] < kills and sum(counts.values()) < 4 * kills:
        name = turns[number % len(turns)]
        store, _, expected = before[name]
        folder = _drill_folder(root, store)
        one = drill(name, root / "whole")
        moments: list[float] = []
        for _ in range(draw.choice((1, 4, 8))):
            moments.append(lasts[name] * _moment(draw))
            status, seconds = attempt(one.run, folder, moments[-1])
            if not status:  # it may go on from what it has, and the first run was slow
                lasts[name] = min(lasts[name], seconds)
            counts["kills" if status == -signal.SIGKILL else "ended_before"] += 1
            if status not in (0, -signal.SIGKILL):
                faults.append(f"{name} {moments}: {_log(folder)}")
        killed = f"{name} killed at {moments} of {lasts[name]:.2f} s{_damage(draw, folder)}"
        faults += [f"{killed}: {fault}" for fault in _run_again(one, folder, expected)]
        shutil.rmtree(folder)
        number += 1
    times = {name: round(seconds, 2) for name, seconds in lasts.items()}
    return counts | {"seed": seed, "seconds": times, "faults": faults}


def _drill_folder(root: Path, store: Path) -> Path:
    """A new folder with a copy of the store."""
    folder = root / "drill"
    folder.mkdir()
    shutil.copyfile(store, folder / "mlflow.db")
    # A store that is copied looks for its artifacts beside it.
    if (root / "whole/mlruns").is_dir():
        shutil.copytree(root / "whole/mlruns", folder / "mlruns")
    return folder


def _moment(draw: random.Random) -> float:
    """When to kill, as a share of the time that the stage takes."""
    is_late = draw.random() < 0.3
    return draw.uniform(0.85 if is_late else 0, 1.05 if is_late else 1)


def _run_again(one: Drill, folder: Path, expected: str) -> list[str]:
    """The faults of a stage that is now left alone."""
    status, _ = attempt(one.run, folder)
    return [_log(folder)] if status else check(one, folder, expected)


def _log(folder: Path) -> str:
    return (folder / "log.txt").read_text()[-1500:]


def main() -> int:
    """Drill, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(PATHS), default=list(PATHS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="refsr-drills-") as folder:
        result = run_drills(Path(folder), options.only, options.kills, options.seed)
    print(json.dumps(result))
    return int(bool(result["faults"]))


if __name__ == "__main__":
    sys.exit(main())
