"""An output and its writers: one at a time, whoever is killed, and when."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from output_stage import Run, fill, stage, store, tree

from refsr.errors import RefsrError
from refsr.io import atomic, marker
from refsr.io.lock import Lock
from refsr.io.output import KEY, Output

__all__ = ["stage", "store"]  # fixtures


def test_a_second_run_names_the_writer(stage: Run, tmp_path: Path) -> None:
    said = []

    def write(path: Path) -> None:
        fill(path, "first")
        with pytest.raises(RefsrError) as caught:
            stage(lambda path: fill(path, "second"))
        said.append(str(caught.value))

    stage(write)
    assert f"process {os.getpid()} on {os.uname().nodename} (validate) is writing it" in said[0]
    assert (tmp_path / "out/file").read_text() == "first"
    stage(lambda path: fill(path, "third"))
    assert (tmp_path / "out/file").read_text() == "third"


HOLD = """
import sys, time
from pathlib import Path
from refsr.io.output import Output
with Output("validate", "--validation", Path(sys.argv[1])).open("f"):
    Path(sys.argv[1] + ".partial").mkdir()
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(stage: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefsrError, match=f"process {holder.pid} on .* is writing it"):
            stage()
        holder.kill()
        holder.wait()
    stage()
    assert not list(tmp_path.glob("*.partial*"))


MOMENTS = ["flush", "exchange", "rename", "second rename", "remove"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_while_an_output_is_replaced_loses_neither(
    stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, can_exchange: bool
) -> None:
    """Killed before each step of the replacement,
    on disks that can exchange two names in one call and on others.
    """
    stage(lambda path: fill(path, "old"))
    with monkeypatch.context() as patched:
        if not can_exchange:
            patched.setattr(atomic, "_exchange", lambda one, other: False)
        _kill_at(patched, moment)
        with pytest.raises(KeyboardInterrupt):
            stage(lambda path: fill(path, "new"))
            raise KeyboardInterrupt  # this moment does not come on such a disk
    whole = [
        text
        for name, text in tree(tmp_path).items()
        if name.startswith("out") and name.endswith("/file")
    ]
    assert b"old" in whole or (tmp_path / "out/file").read_text() == "new"
    if can_exchange:
        assert (tmp_path / "out/file").read_text() in ("old", "new")
    stage(lambda path: fill(path, "newest"))
    assert (tmp_path / "out/file").read_text() == "newest"
    assert not list(tmp_path.glob("*.partial*"))


def _kill_at(patched: pytest.MonkeyPatch, moment: str) -> None:
    calls = []
    rename, remove, exchange = Path.rename, atomic.remove, atomic._exchange

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    def second(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == (1 if moment == "rename" else 2):
            raise KeyboardInterrupt
        return rename(path, target)

    def late(path: Path) -> None:
        if (path / marker.MARKER).exists():  # the old output, on its way out
            raise KeyboardInterrupt
        remove(path)

    if moment == "flush":
        patched.setattr(atomic, "flush", killed)
    elif moment == "exchange":
        patched.setattr(atomic, "_exchange", killed)
    elif "rename" in moment:
        patched.setattr(Path, "rename", second)
    else:
        patched.setattr(atomic, "remove", late)
    assert exchange is not None


def test_an_input_that_a_kill_left_aside_is_brought_back(
    stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage after the killed one finds its input, though the killed one is not run again."""
    stage(lambda path: fill(path, "old"))
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_exchange", lambda one, other: False)
        _kill_at(patched, "second rename")
        with pytest.raises(KeyboardInterrupt):
            stage(lambda path: fill(path, "new"))
    assert not (tmp_path / "out").exists()
    stage(curated=tmp_path / "out", validation=tmp_path / "next")
    assert (tmp_path / "out/file").read_text() == "old"


def test_a_file_of_any_name_that_a_stage_wrote_is_part_of_its_output(tmp_path: Path) -> None:
    output = Output("fetch", "--raw", tmp_path / "out")
    with output.open(""):
        fill(output.partial, "new")
        (output.partial / "notes.partial").write_text("a user's, fetched with the rest")
        output.put_in_place(output.partial)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "file",
        "notes.partial",
        ".refsr.json",
    }


def test_an_unfinished_run_of_before_is_never_mixed_with_an_old_output(tmp_path: Path) -> None:
    output = Output("validate", "--validation", tmp_path / "out")
    with output.open("work"):
        output.put_in_place(fill(output.partial, "old"))
    with pytest.raises(KeyboardInterrupt), output.open("work"):
        fill(output.partial, "new")
        with pytest.MonkeyPatch.context() as patched:
            _kill_at(patched, "remove")
            output.put_in_place(output.partial)
    assert (tmp_path / "out/file").read_text() == "new"
    assert (output.partial / "file").read_text() == "old"
    with output.open("work"):
        assert not output.partial.exists()


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_of_any_pool_is_one_message(stage: Run, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_die, range(2)))

    with pytest.raises(
        RefsrError, match=r"validate: a worker process was killed, .* run the stage again"
    ):
        stage(write)
    stage()


def test_a_disk_that_refuses_is_one_message(stage: Run, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        (tmp_path / "in/file/deeper").write_text("a file stands where a folder is needed")

    with pytest.raises(
        RefsrError, match=r"validate: .*in/file/deeper: Not a directory; a file is where"
    ):
        stage(write)


def test_a_key_of_before_vouches_for_its_scratch(tmp_path: Path) -> None:
    """As version 0.1 left it: a fingerprint alone."""
    key = tmp_path / f"out{KEY}"
    key.write_text("0" * 64)
    fill(tmp_path / "out.partial", "so far")
    output = Output("validate", "--validation", tmp_path / "out")
    output.check()
    with output.open("0" * 64):
        assert (output.partial / "file").read_text() == "so far"
        assert json.loads(key.read_text())["pid"] == str(os.getpid())


def test_a_lock_that_is_no_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.partial-key").write_text("my notes")
    with pytest.raises(RefsrError, match="not a file of refsr"):
        Lock(tmp_path / "out.partial-key").take("out")
    assert (tmp_path / "out.partial-key").read_text() == "my notes"
