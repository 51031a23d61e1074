"""Every file that the whole road wrote, damaged in each way:
one message names it and the stage to run again.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from file_damage import WAYS, contents, damaged, kinds

from refsr import steps
from refsr.__main__ import main
from refsr.io.marker import MARKER

READERS = [name for name in steps.STEPS if "input" in steps.ports(steps.load(name)).values()]


@pytest.fixture
def road(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, Path]]:
    """Port -> (the stage that writes it, its folder), from dvc.yaml;
    the test runs where they lie.
    """
    monkeypatch.chdir(scratch)
    stages = yaml.safe_load((scratch / "dvc.yaml").read_text())["stages"]
    outputs = {stage: Path(stages[stage]["outs"][0]) for stage in steps.STEPS}
    return {_output(stage): (stage, path) for stage, path in outputs.items()}


def _output(stage: str) -> str:
    return next(
        port for port, kind in steps.ports(steps.load(stage)).items() if kind.endswith("output")
    )


def _faults(
    path: Path,
    command: Sequence[str],
    named: Sequence[str],
    capsys: pytest.CaptureFixture[str],
    *,
    strict: bool,
) -> list[str]:
    """Run the command after each damage to a file; the faults in words.

    Args:
        path: The file.
        command: What reads it.
        named: What a refusal has to name.
        capsys: What the command says.
        strict: Whether it has to be refused.
    """
    faults = []
    for way in damaged(path):
        capsys.readouterr()
        try:
            status = main(command)
        except BaseException as error:
            faults.append(f"{command[0]}: {path}, {way}: {type(error).__name__}: {error}")
            continue
        said = capsys.readouterr().err
        is_reported = said.count("refsr: error:") == 1 and all(word in said for word in named)
        if status not in (0, 1) or (status == 1 and not is_reported) or (strict and status != 1):
            faults.append(f"{command[0]}: {path}, {way}: {status}: {said}")
    return faults


@pytest.mark.parametrize("stage", READERS)
def test_each_damaged_input_of_a_stage_is_named(
    road: dict[str, tuple[str, Path]], stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [port for port, kind in steps.ports(steps.load(stage)).items() if kind == "input"]
    paths = [word for port in inputs for word in (f"--{port}", str(road[port][1]))]
    command = [stage, *paths, f"--{_output(stage)}", "output"]
    faults: list[str] = []
    for port in inputs:
        writer, folder = road[port]
        before = contents(folder)
        files = {name: path for name, path in kinds(folder).items() if path.name != MARKER}
        assert files
        for path in files.values():
            faults += _faults(path, command, [str(path), f"`{writer}`"], capsys, strict=True)
        assert contents(folder) == before
    assert faults == []
    assert not list(Path().glob("output*"))


def test_a_damaged_marker_leaves_the_output_alone(
    road: dict[str, tuple[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    for port in ("curated", "evaluation"):
        writer, folder = road[port]
        before = contents(folder)
        inputs = [name for name, kind in steps.ports(steps.load(writer)).items() if kind == "input"]
        paths = [word for name in inputs for word in (f"--{name}", str(road[name][1]))]
        command = [writer, *paths, f"--{port}", str(folder)]
        assert _faults(folder / MARKER, command, [str(folder), MARKER], capsys, strict=True) == []
        assert contents(folder) == before


def test_commands_name_what_is_damaged(
    road: dict[str, tuple[str, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((4, 4, 3), 128, np.uint8))
    evaluation, refsr = road["evaluation"][1], road["refsr"][1] / "model.safetensors"
    cases = {evaluation / "table.txt": ["show"], evaluation / "results.md": ["show", "--markdown"]}
    cases[refsr] = [
        "upscale",
        str(tmp_path / "small.png"),
        "-o",
        str(tmp_path / "out.png"),
        "--model",
        str(refsr),
    ]
    for path in kinds(road["curated"][1]).values():
        cases[path] = ["inspect", "-o", str(tmp_path / "page.html")]
    del cases[road["curated"][1] / MARKER]
    faults = []
    for path, command in cases.items():
        writer = {folder: stage for stage, folder in road.values()}[path.parent]
        faults += _faults(path, command, [str(path), f"`{writer}`"], capsys, strict=True)
    assert faults == []
    assert not (tmp_path / "out.png").exists()


def test_a_damaged_version_in_the_registry_is_named(
    road: dict[str, tuple[str, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert road
    cv2.imwrite(str(tmp_path / "small.png"), np.full((4, 4, 3), 128, np.uint8))
    upscale = ["upscale", str(tmp_path / "small.png"), "-o", str(tmp_path / "out.png")]
    (model,) = list(Path("mlruns/refsr/models").iterdir())[:1]
    faults = []
    for path in kinds(model / "artifacts").values():
        if "code" in path.parts:
            continue
        command = upscale if path.name != "metrics.json" else ["promote", "1"]
        strict = path.parent.name == "model"
        faults += _faults(
            path, command, [path.name, "version 1", "`register`"], capsys, strict=strict
        )
    assert faults == []


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_store_is_named(
    road: dict[str, tuple[str, Path]],
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(
        "mlflow.db", tmp_path / "mlflow.db"
    )  # MLflow keeps one open: each is a store of its own
    WAYS[way](tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    inputs = ["--curated", str(road["curated"][1])]
    for command in (
        ["promote", "1"],
        ["validate", *inputs, "--validation", str(tmp_path / "validation")],
    ):
        status = main(command)
        said = capsys.readouterr().err
        assert status == 0 or (said.count("refsr: error:") == 1 and "mlflow.db" in said), said
