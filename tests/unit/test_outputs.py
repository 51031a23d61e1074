"""What an output may replace: what the same stage wrote, and nothing else."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import let_others_in
from output_stage import Run, fill, stage, store, tree

from pipelines import backup, local
from pipelines.compile import compile_package
from refsr import steps
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.io import marker
from tools import docker

NOBODY = 65534

__all__ = ["stage", "store"]  # fixtures


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
def test_an_output_that_overlaps_is_refused_and_nothing_changes(
    stage: Run, tmp_path: Path, case: str
) -> None:
    fill(tmp_path / "in"), fill(tmp_path / "raw")
    paths = OVERLAPS[case](tmp_path)
    before = tree(tmp_path)
    with pytest.raises(
        RefsrError,
        match=r"validate: output --(validation|more) .*(overlaps|is or holds|is the root folder)",
    ):
        stage(**paths)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "way", ["the output is a link to an input", "an input is a link to the output", "parents"]
)
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


def test_what_is_empty_or_its_own_is_replaced_and_its_bytes_are_the_same(
    stage: Run, tmp_path: Path
) -> None:
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
def test_a_path_that_cannot_be_is_one_message(
    stage: Run, tmp_path: Path, case: str, port: str
) -> None:
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    text = BAD_PATHS[case](tmp_path)
    given: object = text if port == "raw" else [Path(text)] if port == "parts" else Path(text)
    with pytest.raises(RefsrError):
        stage(**{port: given})
    assert (tmp_path / "plain").read_text() == "mine"
    assert not list(tmp_path.glob("*.partial*"))


@pytest.fixture
def somebody(tmp_path: Path) -> Iterator[None]:
    """The test runs as a user whom permissions hold, also where it was started by root."""
    if os.geteuid() != 0:
        yield
        return
    let_others_in(tmp_path)
    os.chown(tmp_path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


READ_ONLY = ("the folder above", "far above", "the output", "in the output", "scratch", "key")


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("what", READ_ONLY)
def test_a_read_only_place_is_refused_before_an_input_is_read(
    stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def read(*_: object) -> str:
        raise AssertionError("an input was read")

    monkeypatch.setattr(steps, "fingerprint_of", read)
    top = tmp_path / "top"
    place = top / "a" / "b" if what == "far above" else top / "out"
    top.mkdir()
    closed = {
        "the folder above": top,
        "far above": top,
        "the output": place,
        "in the output": place / "deep",
    }
    closed |= {"scratch": top / "out.partial", "key": top / "out.partial-key"}
    if what in ("the output", "in the output"):
        fill(place), fill(place / "deep")
        marker.write(place, "validate")
    if what in ("scratch", "key"):
        closed["key"].write_text('{"refsr": "scratch"}')
        fill(closed["scratch"])
    closed[what].chmod(0o444 if what == "key" else 0o555)
    before = tree(top)
    with pytest.raises(
        RefsrError, match=f"output --validation .*: {closed[what]}: may not be written to"
    ):
        stage(validation=place)
    assert tree(top) == before
    closed[what].chmod(0o755)


@pytest.mark.usefixtures("somebody")
def test_a_read_only_file_of_a_command_is_refused_before_an_input_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    for words in (
        ["upscale", "no.png", "-o", "closed/out.png", "--model", "no.safetensors"],
        ["inspect", "--curated", "no", "-o", "closed/more/page.html"],
        ["import-caffe", "no.caffemodel", "-o", "closed/out.safetensors"],
    ):
        assert main(words) == 1
        assert capsys.readouterr().err.startswith(
            f"refsr: error: {closed}: may not be written to"
        ), words
    with pytest.raises(RefsrError, match="closed: may not be written to"):
        compile_package(closed / "package.yaml", None)
    with pytest.raises(RefsrError, match="closed: may not be written to"):
        backup.get(closed / "dumps", "s3://nobody/dumps")
    for run in (local.main, docker.main):
        assert run(["--output", "closed/out", "--params", "no.yaml"]) == 1
        assert "closed: may not be written to" in capsys.readouterr().err


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize(
    "what", ["state", "store", "folder of the store", "no folder of the store"]
)
def test_a_read_only_state_or_store_is_refused_before_an_input_is_read(
    stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def read(*_: object) -> str:
        raise AssertionError("an input was read")

    monkeypatch.setattr(steps, "fingerprint_of", read)
    place = tmp_path / "place"
    place.mkdir()
    uri = f"sqlite:///{place}/{'no/' if what.startswith('no ') else ''}mlflow.db"
    if what == "store":
        (place / "mlflow.db").touch(0o444)
    elif not what.startswith("no "):
        place.chmod(0o555)
    given = {"state": place} if what == "state" else {"tracking_uri": uri}
    with pytest.raises(
        RefsrError, match=r"may not be written to|cannot be opened: .*/place/no: no such folder"
    ):
        stage(**given)
    place.chmod(0o755)
    assert [path.name for path in place.iterdir()] == ["mlflow.db"] * (what == "store")
