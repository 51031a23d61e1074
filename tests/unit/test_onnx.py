"""`refsr export` and what ONNX Runtime makes of its file, without PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import refsr
from refsr.__main__ import main
from refsr.inference import export
from refsr.models import build
from refsr.models.checkpoint import save_model

RNG = np.random.default_rng(0)
COMPACT = {"variant": "compact", "hr_size": 32, "scale": 4, "width": 16, "blocks": 1}


def _image(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (*shape, 3), np.uint8)


def _network(**config: Any) -> nn.Module:
    """A network in which everything has its part, references too."""
    torch.manual_seed(0)
    network = build(config).eval()
    for name, parameter in network.named_parameters():
        if "gate" in name or not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.safetensors"
    save_model(path, _network(model="refsr", **COMPACT), {"step": 7})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    path = checkpoint.with_name("model.onnx")
    assert main(["export", "--model", str(checkpoint), "--onnx", str(path)]) == 0
    return path


@pytest.mark.parametrize("shape", [(8, 8), (8, 6), (5, 3), (1, 1), (300, 1), (60, 100)])
def test_photos_of_any_size_give_the_same_pixels(
    shape: tuple[int, int], checkpoint: Path, exported: Path
) -> None:
    eager, model = refsr.load(checkpoint), refsr.load(exported)
    assert (model.lr_size, model.hr_size, model.uses_reference) == (8, 32, True)
    photo, references = _image(*shape), [_image(32, 32), _image(50, 20), _image(9, 70)]
    for count in range(4):
        result = model.upscale(photo, *references[:count])
        expected = eager.upscale(photo, *references[:count])
        assert (result.shape, result.dtype) == (expected.shape, np.uint8)
        assert abs(result.astype(int) - expected).max() <= 1


OTHERS: dict[str, dict[str, Any]] = {
    "compact sisr": {"model": "sisr", **COMPACT},
    "no landmarks": {"model": "refsr", **COMPACT, "align": False},
    "no attention": {"model": "refsr", **COMPACT, "attention": False},
    "16x": {"model": "refsr", **COMPACT, "scale": 16, "hr_size": 64},
}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_every_option_is_exported(config: dict[str, Any], tmp_path: Path) -> None:
    made = export.export(_network(**config), {}, tmp_path / "model.onnx")
    assert made.difference <= export.TOLERANCE
    assert len(made.sizes) == 2
    assert len(made.references) == (1 if config["model"] == "sisr" else 5)
