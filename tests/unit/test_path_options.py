"""Every path option of every command: a path that cannot be is one message,
and files of a user stay.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import backup, local, users
from pipelines import cli as kubeflow
from pipelines.compile import compile_package
from refsr import __main__ as cli
from refsr import commands, steps
from refsr.errors import RefsrError
from refsr.inference.images import FORMATS, is_own_image, write_image
from refsr.io.paths import path_option, path_text
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from tools import docker, images

STAGES = tuple(name.replace("_", "-") for name in (*steps.STEPS, *steps.SIDE_STEPS))
OTHERS = (
    *("inspect", "show", "import-caffe", "promote", "rollback", "transfer", "upscale"),
    *("export", "push", "pull"),
)
REQUIRED = {"target": "sqlite:///other.db", "s3": None, "hr": None, "scale": None}


def actions(command: str) -> list[argparse.Action]:
    """The options of a command of refsr."""
    parser = cli._parser([command])
    (commands,) = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    chosen: argparse.ArgumentParser = commands.choices[command]
    return chosen._actions


def paths_of(command: str) -> Iterator[argparse.Action]:
    yield from (action for action in actions(command) if action.type in (path_option, path_text))


def arguments(command: str, folder: Path, bad: argparse.Action, text: str) -> list[str]:
    """A command line on which all is well but one path."""
    words = [command]
    for action in actions(command):
        value = text if action.dest == bad.dest else str(folder / action.dest)
        if action.type in (path_option, path_text) and (action.required or action.dest == bad.dest):
            words += [*action.option_strings[:1], value]
        elif action.required and action.dest in REQUIRED:
            words += [*action.option_strings[:1], str(REQUIRED[action.dest])]
    return words


@pytest.fixture
def folder_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The present folder: a params file, and a file that is nobody's to replace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("synthesize: {}\n")
    (tmp_path / "plain").write_text("mine")


@pytest.mark.usefixtures("folder_of_a_user")
@pytest.mark.parametrize("command", [*STAGES, *OTHERS])
def test_every_path_that_cannot_be_is_one_message(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = list(paths_of(command))
    assert named
    for action in named:
        for bad in (
            "-",
            "",
            "plain/below.png",
            "x" * 256,
            "a\0b",
            str(tmp_path / ("d" * 300) / "a.png"),
        ):
            assert cli.main(arguments(command, tmp_path, action, bad)) == 1, (action.dest, bad)
            message = capsys.readouterr().err
            assert re.search("^refsr: error: ", message, re.MULTILINE), (action.dest, bad)
            assert "Traceback" not in message
    assert (tmp_path / "plain").read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial*"))


@pytest.mark.usefixtures("folder_of_a_user")
@pytest.mark.parametrize("bad", ["-", "", "plain/below.yaml"])
def test_paths_of_the_pipelines(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, words in (
        (kubeflow.main, ["compile", "--image", "a:b", "--output", bad]),
        (kubeflow.main, ["compile", "--image", "a:b", "--output", "out.yaml", "--params", bad]),
        (kubeflow.main, ["compile", "--image", "a:b", "--output", "out.yaml", "--cluster", bad]),
        (local.main, ["--output", bad]),
        (local.main, ["--output", "out", "--params", bad]),
    ):
        assert run(words) == 1, words
        assert capsys.readouterr().err.startswith("refsr: error: ")
    for path in ("-", ""):
        assert backup.main(["get", path, "s3://bucket/dumps"]) == 1
        assert capsys.readouterr().err.startswith("refsr: error: ")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "out") == [
        "params.yaml",
        "plain",
    ]


def picture(path: Path) -> bytes:
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "way", ["the input", "the reference", "a link", "a link above", "another picture", "the model"]
)
def test_upscale_replaces_no_picture_that_it_did_not_write(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = {name: picture(tmp_path / name) for name in ("small.png", "ref.png", "other.png")}
    (tmp_path / "link.png").symlink_to("ref.png")
    (tmp_path / "here").symlink_to(tmp_path)
    model = tmp_path / "model.png"
    save_model(model, CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    kept["model.png"] = model.read_bytes()
    output = {
        "the input": "small.png",
        "the reference": "ref.png",
        "a link": "link.png",
        "the model": "model.png",
    }
    output |= {"a link above": "here/small.png", "another picture": "other.png"}
    words = ["upscale", "small.png", "--ref", "ref.png", "--model", "model.png", "-o"]
    assert cli.main([*words, output[way]]) == 1
    expected_text = "refsr did not write it" if way == "another picture" else "is the input"
    assert expected_text in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    longest = f"{'é' * 125}x.png"
    for name in ("out.png", "out.png", longest, longest):  # what it wrote itself it may replace
        assert cli.main([*words, name]) == 0
    (tmp_path / "to.png").symlink_to("out.png")  # and a link to that stays
    before = (tmp_path / "out.png").stat().st_ino
    assert cli.main([*words, "to.png", "--sharpness", "1"]) == 0
    assert (tmp_path / "to.png").is_symlink()
    assert (tmp_path / "out.png").stat().st_ino != before


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_written_picture_is_known_again(suffix: str, tmp_path: Path) -> None:
    image = np.full((8, 8, 3), 99, np.uint8)
    Image.fromarray(image).save(tmp_path / f"mine{suffix}")
    write_image(tmp_path / f"ours{suffix}", image)
    (tmp_path / f"text{suffix}").write_text("refsr")
    assert [is_own_image(tmp_path / f"{name}{suffix}") for name in ("mine", "ours", "text")] == [
        False,
        True,
        False,
    ]


def test_pages_packages_and_checkpoints_replace_only_their_like(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "mine.html", "mine.caffemodel", "mine.safetensors", "mine.onnx"):
        (tmp_path / name).write_text("synthesize: {}\n")
    for words in (
        ["inspect", "-o", "mine.html"],
        ["import-caffe", "mine.caffemodel", "-o", "mine.safetensors"],
        ["import-caffe", "mine.caffemodel", "-o", "mine.caffemodel"],
        ["export", "--model", "mine.safetensors", "--onnx", "mine.onnx"],
        ["export", "--model", "mine.safetensors", "--onnx", "mine.safetensors"],
    ):
        assert cli.main(words) == 1
        message = capsys.readouterr().err
        assert "refsr did not write it" in message or "is the input" in message
    with pytest.raises(RefsrError, match="refsr did not write it"):
        compile_package(tmp_path / "params.yaml", None)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"synthesize: {}\n"}


# Options and arguments that take text and name no file of this machine.
NO_PATHS = {
    *("shard", "layout", "variant", "kfp", "s3", "version", "source", "target", "name"),
    *("endpoint", "namespace", "tracking_uri", "image"),
    *("uri", "registry", "tag", "base", "license", "by"),
    "host",
}
MAINS = (kubeflow.main, local.main, backup.main, users.main, docker.main, images.main)


class _Made(BaseException):
    """A parser that is about to be used."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _leaves(each)


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> list[argparse.ArgumentParser]:
    """The parsers of every command of the project."""

    def stop(parser: argparse.ArgumentParser, *given: object) -> None:
        del given
        raise _Made(parser)

    names = [command.name for command in commands.every()]
    leaves = [leaf for name in names for leaf in _leaves(cli._parser([name]))]
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    for run in MAINS:
        with pytest.raises(_Made) as made:
            run([])
        leaves += _leaves(made.value.parser)
    return leaves


def test_every_option_that_takes_a_path_refuses_a_tilde(
    parsers: list[argparse.ArgumentParser],
) -> None:
    texts = [
        action
        for parser in parsers
        for action in parser._actions
        if action.nargs != 0 and not action.choices and action.type not in (int, float)
    ]
    assert {action.dest for action in texts if action.type is None} == NO_PATHS
    kinds = (path_option, path_text)
    paths = [action for action in texts if action.type in kinds]
    assert len(paths) > 40
    others = {action.dest for action in texts if action.type not in (None, *kinds)}
    counts = {"every", "count", "trials", "parallel"}
    assert others == {"cron", "vary", "set", "run", "experiment", "run_name", *counts}
    for read in (path_option, path_text):
        for text in ("~", "~/x", "~root/x"):
            with pytest.raises(RefsrError, match="`~` is not expanded; write /"):
                read(text)


@pytest.mark.parametrize("store", ["sqlite:///~/mlflow.db", "~/mlruns", "file://~/mlruns"])
def test_a_store_below_a_tilde_is_refused(
    store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("register: {}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    for words in (["rollback"], ["promote"], ["transfer", "--to", "sqlite:///b.db"]):
        assert cli.main(words) == 1
        assert "`~` is not expanded; write /" in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert cli.main(["transfer", "--from", store, "--to", "sqlite:///b.db"]) == 1
    assert "`~` is not expanded" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
