"""The command `upscale`: every reference counts, and what does not is told."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from refsr.__main__ import main
from refsr.models import build
from refsr.models.checkpoint import save_model

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


def upscaled(model: str, *references: str) -> np.ndarray:
    """What the command writes with these references."""
    words = ["upscale", "small.png", "-o", "out.png"]
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
