"""What an output may replace: what the same stage wrote, and nothing else; whoever is killed, and when."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from refsr import steps
from refsr.config import Validate
from refsr.errors import RefsrError
from refsr.io import atomic, marker
from refsr.io.lock import Lock
from refsr.io.output import KEY, Output
from refsr.steps import Input, Inputs, OptionalInput, Raw, ResumableOutput
from refsr.steps import Output as Written
from refsr.tracker import Tracker

Run = Callable[..., dict[str, float]]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that a folder holds, by name."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in sorted(found.items())}


def fill(folder: Path, text: str = "photo") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: to make one takes longer than most of them."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: str) -> Run:
    """Runs a stage that reads `curated` (and `raw`, `parts`) and writes what `write` does."""

    def run(write: Callable[[Path], object] = fill, **paths: object) -> dict[str, float]:
        def step(
            params: Validate,
            tracker: Tracker,
            *,
            curated: Input,
            raw: Raw,
            parts: Inputs = (),
            sisr: OptionalInput = None,
            validation: Written,
            more: ResumableOutput,
        ) -> dict[str, float]:
            write(validation)
            fill(more)
            return {"rows": 1.0}

        monkeypatch.setattr(steps, "load", lambda name: step)
        named = {"curated": fill(tmp_path / "in"), "raw": str(fill(tmp_path / "raw"))}
        named |= {"validation": tmp_path / "out", "more": tmp_path / "more"}
        return steps.run("validate", Validate(), tracking_uri=store, **(named | paths))

    return run


OVERLAPS: dict[str, Callable[[Path], dict[str, object]]] = {
    "an input": lambda top: {"validation": top / "in"},
    "a raw set": lambda top: {"validation": top / "raw"},
    "a raw set, by another name": lambda top: {"validation": top / "in" / ".." / "raw"},
    "in an input": lambda top: {"validation": top / "in" / "deep" / "out"},
    "holds an input": lambda top: {"curated": fill(top / "all" / "in"), "validation": top / "all"},
    "a part": lambda top: {"parts": [fill(top / "a"), fill(top / "b")], "validation": top / "b"},
    "another output": lambda top: {"more": top / "out"},
    "in another output": lambda top: {"more": top / "out" / "more"},
    "holds another output": lambda top: {"validation": top / "all", "more": top / "all" / "more"},
    "scratch of another output": lambda top: {"more": top / "out.partial"},
    "an input where its scratch would be": lambda top: {"curated": fill(top / "out.partial")},
    "the present folder": lambda top: {"validation": Path()},
    "the folder above": lambda top: {"validation": Path("..")},
    "the present folder by name": lambda top: {"validation": Path.cwd()},
    "a home": lambda top: {"validation": Path.home()},
    "all": lambda top: {"validation": Path("/")},
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_an_output_that_overlaps_is_refused_and_nothing_changes(stage: Run, tmp_path: Path, case: str) -> None:
    fill(tmp_path / "in"), fill(tmp_path / "raw")
    paths = OVERLAPS[case](tmp_path)
    before = tree(tmp_path)
    with pytest.raises(RefsrError, match=r"validate: output --(validation|more) .*(overlaps|is or holds)"):
        stage(**paths)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("way", ["the output is a link to an input", "an input is a link to the output", "parents"])
def test_links_are_followed_before_paths_are_compared(stage: Run, tmp_path: Path, way: str) -> None:
    photos = fill(tmp_path / "photos")
    (tmp_path / "link").symlink_to(tmp_path if way == "parents" else photos)
    link = tmp_path / "link" / "photos" if way == "parents" else tmp_path / "link"
    given, output = (link, photos) if way.startswith("an input") else (photos, link)
    before = tree(tmp_path)
    with pytest.raises(RefsrError, match="overlaps the input --curated"):
        stage(curated=given, validation=output)
    assert tree(tmp_path) | before == tree(tmp_path)
    assert (photos / "file").read_text() == "photo"


@pytest.mark.parametrize("name", ["out", "out.partial", "out.partial-key", "out.partial-old"])
@pytest.mark.parametrize("kind", ["folder", "file", "another stage's", "link"])
def test_what_a_user_has_there_stays(stage: Run, tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / name
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to(fill(tmp_path / "elsewhere", "mine"))
    else:
        fill(place, "mine")
    if kind.startswith("another"):
        marker.write(place, "curate")
    with pytest.raises(RefsrError, match=r"validate: output --validation .*out"):
        stage()
    assert b"mine" in tree(tmp_path).values()
    assert place.is_symlink() == (kind == "link")


def test_a_file_that_was_put_into_an_output_stays(stage: Run, tmp_path: Path) -> None:
    stage()
    for name in ("notes.txt", "deep/notes.txt", "photos"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        if name == "photos":
            (tmp_path / "out" / name).symlink_to(tmp_path / "in")
        else:
            (tmp_path / "out" / name).write_text("mine")
        before = tree(tmp_path / "out")
        with pytest.raises(RefsrError, match="holds files that `validate` did not write"):
            stage()
        assert tree(tmp_path / "out") == before
        (tmp_path / "out" / name).unlink()
    stage()


def test_what_is_empty_or_its_own_is_replaced_and_its_bytes_are_the_same(stage: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    stage()
    first = tree(tmp_path / "out")
    assert marker.MARKER in first
    stage()
    assert tree(tmp_path / "out") == first
    (tmp_path / "empty").touch()
    stage(validation=tmp_path / "empty")
    assert tree(tmp_path / "empty") == first
    assert not list(tmp_path.glob("*.partial*"))


def test_a_linked_output_keeps_its_link(stage: Run, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk/target")
    for text in ("one", "two"):
        stage(lambda path, text=text: fill(path, text))
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "disk/target/file").read_text() == text
    assert not list(tmp_path.rglob("*.partial*"))


@pytest.mark.parametrize("length", [240, 247, 248, 250, 255])
def test_a_name_may_be_as_long_as_the_disk_takes(stage: Run, tmp_path: Path, length: int) -> None:
    place = tmp_path / ("é" * (length // 2) + "x" * (length % 2))
    for _ in range(2):
        stage(validation=place)
    assert (place / "file").read_text() == "photo"
    with pytest.raises(RefsrError, match="longer than 255 bytes"):
        stage(validation=tmp_path / ("é" * 128))


BAD_PATHS: dict[str, Callable[[Path], str]] = {
    "a file as parent": lambda top: str(top / "plain/out"),
    "a file far above": lambda top: str(top / "plain/a/b/out"),
    "a circle of links": lambda top: str(top / "circle"),
    "a circle above": lambda top: str(top / "circle/out"),
    "NUL": lambda top: "a\0b",
    "dash": lambda top: "-",
    "too long above": lambda top: str(top / ("x" * 300) / "out"),
    "too long": lambda top: str(top / ("x" * 300)),
    "no folder to make": lambda top: "/proc/nowhere/out",
}


@pytest.mark.parametrize("port", ["validation", "more", "curated", "raw", "sisr", "parts"])
@pytest.mark.parametrize("case", BAD_PATHS)
def test_a_path_that_cannot_be_is_one_message(stage: Run, tmp_path: Path, case: str, port: str) -> None:
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    text = BAD_PATHS[case](tmp_path)
    given: object = text if port == "raw" else [Path(text)] if port == "parts" else Path(text)
    with pytest.raises(RefsrError):
        stage(**{port: given})
    assert (tmp_path / "plain").read_text() == "mine"
    assert not list(tmp_path.glob("*.partial*"))


def test_a_second_run_is_told_who_writes(stage: Run, tmp_path: Path) -> None:
    said = []

    def write(path: Path) -> None:
        fill(path, "first")
        with pytest.raises(RefsrError) as caught:
            stage(lambda path: fill(path, "second"))
        said.append(str(caught.value))

    stage(write)
    assert f"process {os.getpid()} on {os.uname().nodename} (validate) writes it now" in said[0]
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
        with pytest.raises(RefsrError, match=f"process {holder.pid} on .* writes it now"):
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
    """Killed before each step of the replacement, on disks that can exchange two names in one call and on others."""
    stage(lambda path: fill(path, "old"))
    with monkeypatch.context() as patched:
        if not can_exchange:
            patched.setattr(atomic, "_exchange", lambda one, other: False)
        _kill_at(patched, moment)
        with pytest.raises(KeyboardInterrupt):
            stage(lambda path: fill(path, "new"))
            raise KeyboardInterrupt  # this moment does not come on such a disk
    whole = [text for name, text in tree(tmp_path).items() if name.startswith("out") and name.endswith("/file")]
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
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"file", "notes.partial", ".refsr.json"}


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

    with pytest.raises(RefsrError, match=r"validate: a worker process was killed, .* run the stage again"):
        stage(write)
    stage()


def test_a_disk_that_refuses_is_one_message(stage: Run, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        (tmp_path / "in/file/deeper").write_text("a file stands where a folder is needed")

    with pytest.raises(RefsrError, match=r"validate: .*in/file/deeper: Not a directory; a file stands"):
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
