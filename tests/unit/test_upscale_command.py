"""The command `upscale`: every reference counts, and what does not is told."""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import refsr
from refsr.__main__ import main
from refsr.commands.pictures import _warn_of_misfits
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compatibility import DIFFERENCES, Compatibility

SMALL = {"variant": "compact", "hr_size": 32, "width": 16, "blocks": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small face, two references, and an untrained network of each kind."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, side in {"small": 4, "one": 40, "two": 50}.items():
        image = rng.integers(0, 255, (side, side, 3), np.uint8)
        cv2.imwrite(f"{name}.png", image)
    torch.manual_seed(0)
    for kind in ("sisr", "refsr"):
        model = build({"model": kind} | SMALL)
        save_model(tmp_path / kind, model)
    return tmp_path


def upscaled(model: str, *references: str, options: tuple[str, ...] = ()) -> np.ndarray:
    """What the command writes with these references."""
    words = ["upscale", "small.png", "-o", "out.png", *options]
    words += ["--model", model]
    for reference in references:
        words += ["--ref", f"{reference}.png"]
    assert main(words) == 0
    return np.asarray(cv2.imread("out.png"))


@pytest.mark.usefixtures("folder")
def test_every_reference_counts() -> None:
    none = upscaled("refsr")
    one = upscaled("refsr", "one")
    two = upscaled("refsr", "one", "two")
    assert none.shape == (32, 32, 3)
    assert (none != one).any()
    assert (one != two).any()


@pytest.mark.parametrize(
    ("bias", "sentence", "warns"),
    [
        (-9.0, "one.png: does not fit the face (0.00): the result may show another person", True),
        (-1.0, "one.png: may not fit the face (0.27)", False),
        (2.0, "one.png: fits (0.88)", False),
    ],
)
def test_how_well_a_reference_fits_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], bias: float, sentence: str, warns: bool
) -> None:
    """A reference is left out where it does not fit, and only where that was asked for."""
    _rate_all(folder, bias)
    none, one = upscaled("refsr"), upscaled("refsr", "one")
    printed = capsys.readouterr()
    assert f"{sentence}. " in printed.out
    assert ("--drop-misfits does without it" in printed.err) is warns
    assert (one != none).any()
    dropped = upscaled("refsr", "one", options=("--drop-misfits",))
    assert ("it is left out" in capsys.readouterr().out) is warns
    assert (dropped == (none if warns else one)).all()


@pytest.mark.parametrize(("restored", "warns"), [(True, True), (False, False)])
def test_faces_that_are_left_as_they_are_need_no_reference_that_fits(
    restored: bool, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faces = [{"restored": True, "fits": [0.9]}, {"restored": restored, "fits": [0.01, None]}]
    options = argparse.Namespace(drop_misfits=False)
    _warn_of_misfits(options, [{"photo": "group.png", "faces": faces}])
    assert ("group.png: a reference does not fit" in caplog.text) is warns


@pytest.mark.parametrize(
    "words",
    [
        ["upscale", "small.png", "--model", "refsr", "-o", "missing/large.png"],
        ["upscale-video", "small.png", "--model", "refsr", "-o", "missing/large.mp4"],
        ["export", "--model", "refsr", "--onnx", "missing/model.onnx"],
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_file_in_a_missing_folder_is_refused_at_once(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "refsr: error: missing: no such folder; make it first, or name another output\n"
    )


@pytest.mark.parametrize("uri", ["s3://", "s3:///", "s3:///model.onnx"])
def test_a_place_on_s3_without_a_bucket_is_named(uri: str) -> None:
    with pytest.raises(
        RefsrError, match=r"^s3:///.*: no bucket in it; s3://bucket/key is expected"
    ):
        refsr.load(uri)


def _rate_all(folder: Path, bias: float) -> None:
    """Give the network a score that is the same for every reference."""
    network = load_model(folder / "refsr")
    network.compatibility = Compatibility((0.0,) * DIFFERENCES, bias)  # type: ignore[assignment]
    save_model(folder / "refsr", network)


def test_the_library_rates_references(folder: Path) -> None:
    small, one, two = (cv2.imread(f"{name}.png") for name in ("small", "one", "two"))
    assert refsr.load(folder / "refsr").compatibility(small, one, two) == [None, None]
    assert refsr.load(folder / "sisr").compatibility(small, one) == [None]
    _rate_all(folder, 0.0)
    model = refsr.load(folder / "refsr")
    assert model.compatibility(small, one, two[:, :30]) == [0.5, 0.5]
    assert model.compatibility(small) == []
    with pytest.raises(RefsrError, match=r"^reference 2: dtype uint8"):
        model.compatibility(small, one, one / 255)


def test_a_folder_is_read_once_and_what_is_left_out_is_named(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "photos").mkdir()
    for name in ("photos/small.png", "photos/old.bmp", "photos/scan.TIFF", "photos/notes.txt"):
        shutil.copy("small.png", name)
    words = ["upscale", "photos", "photos/small.png", "--model", "sisr", "-o", "out"]
    assert main([*words, "--scale", "0.5"]) == 1
    assert "error: scale 0.5: a number from 1 to 16" in capsys.readouterr().err
    assert not (folder / "out").exists()
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.count("out/small.png: enlarged") == 1
    assert "photos: left out, their format is not read: old.bmp, scan.TIFF" in printed.err
    assert [path.name for path in (folder / "out").iterdir()] == ["small.png"]


@pytest.mark.usefixtures("folder")
def test_a_single_image_model_says_that_it_takes_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    none = upscaled("sisr")
    assert "changes nothing" not in capsys.readouterr().err
    assert (upscaled("sisr", "one") == none).all()
    assert "changes nothing" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("output", ["one.png", "two.png"])
def test_no_reference_is_replaced(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["upscale", "small.png", "-o", output]
    words += ["--model", "refsr"]
    words += ["--ref", "one.png", "--ref", "two.png"]
    assert main(words) == 1
    assert f"is the input --ref {output}" in capsys.readouterr().err
