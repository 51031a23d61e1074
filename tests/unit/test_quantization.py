"""`refsr export --int8`: convolutions of 8 bits."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import make_curated
from torch import nn

import refsr
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.inference import export
from refsr.inference.quantization import Face, Faces, faces_of
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr


def _network() -> CompactRefsr:
    torch.manual_seed(0)
    network = CompactRefsr(
        hr_size=32,
        scale=4,
        width=16,
        blocks=1,
    )
    nn.init.constant_(network.gate, 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    return make_curated(folder / "set", train=4, validation=2)


def _image(values: np.ndarray) -> np.ndarray:
    """(..., 3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    planes = values.reshape(values.shape[-3:])
    pixels = np.moveaxis(planes * 255, 0, -1)
    return pixels.round().astype(np.uint8)


def test_8_bits_change_little_and_the_command_says_how_much(
    curated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(Path("model.safetensors"), _network())
    words = ["export", "--model", ".", "--onnx"]
    assert main([*words, "exact.onnx"]) == 0
    words += ["small.onnx", "--int8"]
    assert main([*words, str(curated)]) == 0
    text = capsys.readouterr().out
    losses = re.findall(r"8 bits: (\S+) dB .* (\d) ref", text)
    assert [count for _, count in losses] == ["0", "1"]
    for loss, _ in losses:
        assert abs(float(loss)) < 0.1
    face = faces_of(curated, 32, 4).measured[0]
    photo = _image(face.feeds["lr"])
    ref = _image(face.feeds["ref"])
    exact = refsr.load("exact.onnx")
    small = refsr.load("small.onnx")
    one = exact.upscale(photo, ref).astype(int)
    other = small.upscale(photo, ref)
    levels = abs(one - other).mean()
    assert 0 < levels < 2
    _require_8_bits(Path("small.onnx"))


def _require_8_bits(file: Path) -> None:
    """Of every convolution, in both branches."""
    nodes = onnx.load(file).graph.node
    (choice,) = (each for each in nodes if each.op_type == "If")
    for branch in choice.attribute:
        made_by = {name: node.op_type for node in branch.g.node for name in node.output}
        makers = {made_by[node.input[0]] for node in branch.g.node if node.op_type == "Conv"}
        assert makers == {"DequantizeLinear"}


def test_faces_are_of_training_and_validation_people(curated: Path, tmp_path: Path) -> None:
    faces = faces_of(curated, 32, 4)
    assert len(faces.calibration) == 4
    assert len(faces.measured) == 2
    feeds = faces.measured[0].feeds
    assert feeds["lr"].shape == (1, 3, 8, 8)
    assert feeds["ref"].shape == (1, 1, 3, 32, 32)
    without = make_curated(tmp_path / "set", train=2)
    for folder, size, message in (
        (curated, 64, "images of 32 pixels; .* 64"),
        (without, 32, "no validation people"),
        (tmp_path / "no", 32, "no curated set here"),
    ):
        with pytest.raises(RefsrError, match=message):
            faces_of(folder, size, 4)


def test_a_file_that_loses_too_much_is_not_written(curated: Path, tmp_path: Path) -> None:
    """Where the truth is what the network gives, 8 bits lose many dB."""
    network = _network()
    faces = faces_of(curated, 32, 4)
    feeds = faces.measured[0].feeds
    with torch.inference_mode():
        lr = torch.from_numpy(feeds["lr"])
        given = network.upscale(lr).clamp(0, 1)
    exact = [Face(feeds, given.numpy())]
    faces = Faces(faces.calibration, exact)
    file = tmp_path / "small.onnx"
    message = r"8 bits lose \S+ dB with 0 references"
    with pytest.raises(RefsrError, match=message):
        export.export(network, {}, file, faces)
    assert not list(tmp_path.iterdir())
