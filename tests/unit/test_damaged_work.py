"""What a killed run goes on from, damaged: it is made again to the same bytes,
or one message names the file.
"""

import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from file_damage import WAYS, contents, damaged, kinds
from helpers import make_curated
from raw_trees import embed_colour, make_raw

from components.trainjob import controller, entrypoint
from refsr.__main__ import main
from refsr.curation import feature_store
from refsr.curation.collector import FeatureCollector
from refsr.integrations import journaled_run, tracking
from refsr.io import atomic
from refsr.io.marker import MARKER
from refsr.steps import curate as curate_step
from refsr.tracker import NullTracker
from refsr.training import loop
from refsr.training.history import MEASURED

TRAINING = {
    "steps": 2,
    "batch_size": 2,
    "warmup_steps": 1,
    "log_every": 1,
    "save_every": 1,
    "device": "cpu",
}
PARAMS: dict[str, Any] = {
    "curate": {"hr_size": 32, "shard_images": 16, "min_sharpness": 0.25},
    "train_sisr": TRAINING
    | {"warm_start_step": 1, "precision": "float32", "model": {"width": 16, "blocks": 1}}
    | {"loss": {"perceptual_weight": 0.0}},
}
NAMED = 1  # exit status of a refusal


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curation by one process, with an embedding of drawn faces; no MLflow."""

    @contextmanager
    def untracked(*_: object, **__: object) -> Iterator[NullTracker]:
        yield NullTracker()

    monkeypatch.setattr(tracking, "start_run", untracked)
    monkeypatch.setattr(journaled_run, "start_journaled_run", untracked)
    monkeypatch.setattr(curate_step, "embed_faces", embed_colour)
    monkeypatch.setattr(curate_step, "DETECTOR", None)
    monkeypatch.setattr(curate_step, "usable_cores", lambda: 1)
    monkeypatch.setattr(feature_store, "FLUSH", 12)
    for name in ("flush", "flush_folder"):  # which take longer than all else
        monkeypatch.setattr(atomic, name, lambda path: None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return tmp_path


def _pack(folder: Path) -> None:
    make_raw(folder / "drawn", train=3, test=2, views=4)
    with tarfile.open(folder / "raw.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder / "drawn", "raw")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _every_damage(
    folder: Path,
    left: str,
    check: Callable[[str], bool],
    capsys: pytest.CaptureFixture[str],
    *command: str,
    stage: str = "",
) -> list[str]:
    """Run the command after each damage to each file of `left`; the faults in words.

    Args:
        folder: Where all lies, the present folder.
        left: What is damaged, a folder; it is whole again before each run.
        check: Of what the run left, by the name of the damaged file, whether it is right.
        capsys: What the run says.
        command: Its arguments.
        stage: The one a message has to name; that of the command where it is left out.
    """
    faults = []
    shutil.copytree(folder / left, folder / "kept")
    key = folder / f"{left}-key"
    name_of = stage or command[0]
    known = key.read_bytes() if key.exists() else b""
    output = folder / command[-1]
    for name, path in kinds(folder / "kept").items():
        for way in damaged(path):
            shutil.rmtree(folder / left, ignore_errors=True)
            shutil.copytree(folder / "kept", folder / left)
            if known:
                key.write_bytes(known)
            capsys.readouterr()
            try:
                status = main(command)
            except BaseException as error:
                faults.append(f"{name}, {way}: {type(error).__name__}: {error}")
                continue
            said = capsys.readouterr().err
            is_named = (
                said.count("refsr: error:") == 1
                and path.name in said
                and re.search(f"`{name_of}|{name_of}:", said)
            )
            if status == NAMED and not is_named:
                faults.append(f"{name}, {way}: {said}")
            if status == 0 and not check(name):
                faults.append(f"{name}, {way}: another result")
            if status not in (0, NAMED):
                faults.append(f"{name}, {way}: status {status}")
            shutil.rmtree(output, ignore_errors=True)
    return faults


def test_a_curation_goes_on_from_damaged_work_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pack(folder)
    assert main(["curate", "--raw", "raw.tar.gz", "--curated", "whole"]) == 0
    command = ("curate", "--raw", "raw.tar.gz", "--curated", "curated")
    with monkeypatch.context() as killed:
        killed.setattr(FeatureCollector, "close", _interrupt)
        assert main(command) == 130
    files = kinds(folder / "curated.partial")
    suffixes = {Path(name).suffix for name in files}
    assert {".parquet", ".npy", ".json", ".bin", ".crops"} <= suffixes
    expected = contents(folder / "whole")
    faults = _every_damage(
        folder,
        "curated.partial",
        lambda name: contents(folder / "curated") == expected,
        capsys,
        *command,
    )
    assert faults == []


def _trained(folder: Path) -> dict[str, bytes | None]:
    """What a training left, without what tells of the clock."""
    files = contents(folder)
    history = pd.read_csv(folder / "history.csv").drop(columns=list(MEASURED))
    return files | {"history.csv": history.to_csv().encode(), MARKER: None}


def test_a_training_goes_on_from_a_damaged_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_curated(folder / "curated", identities=4, train=2)
    (folder / "validation").mkdir()
    command = ("train_sisr", "--curated", "curated", "--validation", "validation", "--sisr", "sisr")
    with monkeypatch.context() as killed:
        killed.setattr(loop, "write_history", _interrupt)
        assert main(command) == 130
    assert {"state/#.pt", "state/warm.safetensors"} <= kinds(folder / "sisr.partial").keys()
    shutil.copytree(folder / "sisr.partial", folder / "left")
    key = (folder / "sisr.partial-key").read_bytes()
    assert main(command) == 0
    expected = _trained(folder / "sisr")
    shutil.rmtree(folder / "sisr")
    shutil.move(folder / "left", folder / "sisr.partial")
    (folder / "sisr.partial-key").write_bytes(key)
    faults = _every_damage(
        folder, "sisr.partial", lambda name: _trained(folder / "sisr") == expected, capsys, *command
    )
    assert faults == []


@pytest.mark.parametrize("marked", [True, False])
def test_a_damaged_part_is_named_by_merge(
    folder: Path, marked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _pack(folder)
    for number in ("1", "2"):
        part = ("--shard", f"{number}/2", "--raw", "raw.tar.gz", "--curated", f"part{number}")
        assert main(["curate", *part]) == 0
    if not marked:
        (folder / "part1" / MARKER).unlink()
    command = ("merge", "part1", "part2", "--raw", "raw.tar.gz", "--curated", "curated")
    assert main(command) == 0
    expected = contents(folder / "curated")
    shutil.rmtree(folder / "curated")
    damage = kinds(folder / "part1")
    assert {"part.json", "work/version"} <= damage.keys()

    def is_right(name: str) -> bool:
        return contents(folder / "curated") == expected

    assert _every_damage(folder, "part1", is_right, capsys, *command, stage="curate") == []


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_request_of_a_trainjob_is_named(
    folder: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order = folder / controller.REQUEST
    paths = {"curated": "in", "sisr": "out"}
    order.write_text(
        json.dumps(
            {
                "stage": "train_sisr",
                "params": {},
                "tracking_uri": "",
                "state": ".",
                "pipeline": "1",
                "paths": paths,
            }
        )
    )
    WAYS[way](order)
    with pytest.raises(SystemExit) as ended:
        entrypoint.main(folder)
    assert str(ended.value.code).startswith("refsr: error: ")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_result_of_a_trainjob_is_no_result(folder: Path, way: str) -> None:
    numbers = folder / controller.RESULT
    numbers.write_text('{"loss": 0.5, "psnr": 20.25}')
    assert controller._read_result(folder) == {"loss": 0.5, "psnr": 20.25}
    WAYS[way](numbers)
    assert controller._read_result(folder) in ({}, {"loss": -1, "psnr": 20.25})
