"""`refsr export` and what ONNX Runtime makes of its file, without PyTorch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import refsr
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.inference import export, fitting, upscaler
from refsr.inference.images import read_image, write_image
from refsr.models import build
from refsr.models.checkpoint import save_model
from refsr.models.compatibility import DIFFERENCES, Compatibility

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
    network = _network(model="refsr", **COMPACT)
    weights = tuple(np.random.default_rng(1).normal(0, 1, DIFFERENCES).tolist())
    network.compatibility = Compatibility(weights, 0.3)
    save_model(path, network, {"step": 7})
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    path = checkpoint.with_name("model.onnx")
    assert main(["export", "--model", str(checkpoint), "--onnx", str(path)]) == 0
    return path


@pytest.mark.parametrize("shape", [(8, 8), (8, 6), (5, 3), (1, 1), (300, 1), (60, 100)])
def test_photos_of_any_size_give_the_same_pixels(
    shape: tuple[int, int],
    checkpoint: Path,
    exported: Path,
) -> None:
    eager, model = refsr.load(checkpoint), refsr.load(exported)
    assert (model.lr_size, model.hr_size, model.uses_reference) == (8, 32, True)
    photo, references = _image(*shape), [_image(32, 32), _image(50, 20), _image(9, 70)]
    for count in range(4):
        result = model.upscale(photo, *references[:count])
        expected = eager.upscale(photo, *references[:count])
        assert (result.shape, result.dtype) == (expected.shape, np.uint8)
        assert abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("shape", [(8, 8), (5, 3), (60, 100)])
def test_references_are_rated_alike(
    shape: tuple[int, int], checkpoint: Path, exported: Path
) -> None:
    eager, model = refsr.load(checkpoint), refsr.load(exported)
    photo, references = _image(*shape), [_image(32, 32), _image(50, 20), _image(9, 70)]
    expected = eager.compatibility(photo, *references)
    assert np.ptp(expected) > 0.01
    for count in range(4):
        fits = model.compatibility(photo, *references[:count])
        assert fits == pytest.approx(expected[:count], abs=1e-4)


def test_a_network_without_a_score_rates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export.export(_network(model="refsr", **COMPACT), {}, path)
    assert refsr.load(path).compatibility(_image(8, 8), _image(32, 32)) == [None]


@pytest.mark.parametrize("name", ["checkpoint", "exported"])
def test_several_photos_are_restored_together(name: str, request: pytest.FixtureRequest) -> None:
    model = refsr.load(request.getfixturevalue(name))
    photos = [_image(8, 6), _image(5, 3), _image(8, 6), _image(8, 6)]
    one, two = [_image(32, 32)], [_image(32, 32), _image(50, 20)]
    together: list[int] = []
    run = model._run

    def spied(small: np.ndarray, *given: Any) -> np.ndarray:
        together.append(len(small))
        return run(small, *given)

    for given, own, calls in (
        ([], [[]] * 4, [3, 1]),
        (two, [two] * 4, [3, 1]),
        ([[one, [], two, one]], [one, [], two, one], [2, 1, 1]),
    ):
        model._run = spied
        results = model.upscale(photos, *given, sharpness=0.8)
        model._run = run
        assert together == calls
        together.clear()
        for photo, references, result in zip(photos, own, results, strict=True):
            expected = model.upscale(photo, references, sharpness=0.8)
            assert abs(result.astype(int) - expected).max() <= 1


def test_what_is_wrong_in_a_list_is_named(exported: Path) -> None:
    model, photo = refsr.load(exported), _image(8, 6)
    assert model.upscale([]) == []
    for photos, references, message in (
        ([photo, photo[0]], [], r"photo 2: shape .* not \(6, 3\)"),
        ([photo, photo], [photo, photo / 255], "reference 2: dtype uint8"),
        ([photo, photo], [[photo], [photo, None]], "photo 2, reference 2: .* not NoneType"),
        ([photo, photo], [[photo], [], []], "references: 3 lists for 2 photos"),
    ):
        with pytest.raises(RefsrError, match=f"^{message}"):
            model.upscale(photos, references)


OTHERS: dict[str, dict[str, Any]] = {
    "compact sisr": {"model": "sisr", **COMPACT},
    "no landmarks": {"model": "refsr", **COMPACT, "align": False},
    "attention": {"model": "refsr", **COMPACT, "attention": True},
    "attention alone": {"model": "refsr", **COMPACT, "attention": True, "offsets": False},
    "16x": {"model": "refsr", **COMPACT, "scale": 16},
}
FIGURE = {"variant": "figure", "hr_size": 16, "scale": 4}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_every_option_is_exported(config: dict[str, Any], tmp_path: Path) -> None:
    made = export.export(_network(**config), {}, tmp_path / "model.onnx")
    assert made.difference <= export.TOLERANCE
    assert len(made.sizes) == 2
    assert len(made.references) == (1 if config["model"] == "sisr" else 5)


def test_a_file_is_run_without_torch(exported: Path, tmp_path: Path) -> None:
    """In a new process. Photos need PyTorch all the same: it detects their faces."""
    write_image(tmp_path / "small.png", _image(8, 8))
    write_image(tmp_path / "ref.png", _image(32, 32))
    code = f"""
import sys
from pathlib import Path
import refsr
from refsr.__main__ import main
from refsr.inference.images import read_image
small, ref = (read_image(Path(name)) for name in ("small.png", "ref.png"))
model = refsr.load({str(exported)!r})
assert model.upscale(small, ref).shape == (32, 32, 3)
assert 0 < model.compatibility(small, ref)[0] < 1
assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "onnx")]
words = ["upscale", "small.png", "--ref", "ref.png", "-o", "large.png"]
assert main([*words, "--model", {str(exported)!r}]) == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert read_image(tmp_path / "large.png").shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(100, 60), (5, 9), (32, 32), (700, 60)])
def test_a_photo_is_fitted_as_pytorch_fits_it(shape: tuple[int, int]) -> None:
    image = _image(*shape)
    expected = upscaler._fit(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, 32)
    difference = np.abs(fitting.fit(image, 32) - expected[0].numpy()) * 255
    assert difference.max() <= 1.001  # a level, where two roundings part
    assert difference.mean() < 0.01


def test_the_configuration_is_read_without_torch(exported: Path, checkpoint: Path) -> None:
    (header,) = (each.value for each in onnx.load(exported).metadata_props)
    document = json.loads(header)
    assert document["facts"]["step"] == 7
    assert document["config"] == refsr.load(checkpoint)._config


def test_a_network_of_one_size_that_ignores_references(tmp_path: Path) -> None:
    network = _network(model="refsr", mode="lr", **FIGURE)
    file = tmp_path / "model.onnx"
    made = export.export(network, {}, file)
    assert made.sizes == ((4, 4),)
    model = refsr.load(file)
    photo = _image(4, 3)
    one = model.upscale(photo, _image(16, 16))
    assert np.array_equal(one, model.upscale(photo))


def test_a_network_that_draws_is_not_exported(tmp_path: Path) -> None:
    network = _network(model="refsr", mode="gaussian", **FIGURE)
    with pytest.raises(RefsrError, match="draws at random"):
        export.export(network, {}, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class Wrong(nn.Module):
    """What the exporter takes for another network: a constant is traced as it was at first."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"model": "sisr", "variant": "wrong", "hr_size": 32, "scale": 4}
        self.calls = 0

    def upscale(self, lr: torch.Tensor, ref: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        return nn.functional.interpolate(lr, scale_factor=4) + 1e-4 * self.calls


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RefsrError, match=r"differ by .*e-0\d, more than 1e-05, with 0 references"):
        export.export(Wrong(), {}, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_foreign_file_is_one_message(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    other = onnx.load(exported)
    del other.metadata_props[:]
    path = tmp_path / "model.onnx"
    for content, message in (
        (None, "no such file"),
        (b"", "cannot be run"),
        (data[: len(data) // 2], "cannot be run"),
        (b"\0" * 99, "cannot be run"),
        (other.SerializeToString(), "not a model of refsr"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RefsrError, match=f"^{path}: {message}"):
            refsr.load(path)
    with pytest.raises(RefsrError, match="runs on the CPU"):
        refsr.load(exported, device="cuda")


def test_a_single_image_model_takes_no_reference(tmp_path: Path) -> None:
    export.export(_network(model="sisr", **COMPACT), {}, tmp_path / "model.onnx")
    model = refsr.load(tmp_path / "model.onnx")
    assert model.upscale(_image(8, 6)).shape == (32, 24, 3)
    with pytest.raises(RefsrError, match="single-image model"):
        model.upscale(_image(8, 6), _image(32, 32))
