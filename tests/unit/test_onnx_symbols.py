"""Operators that the export writes in its own way: what ONNX Runtime makes of them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refsr.inference.onnx_symbols import OPSET, own_symbols


class Sampling(nn.Module):
    """All of them, one after the other."""

    def __init__(self, padding: str) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, image: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        sampled = F.grid_sample(image, grid, padding_mode=self.padding, align_corners=False)
        return F.pixel_unshuffle(sampled, 2)


def _export(network: nn.Module, file: Path, *inputs: torch.Tensor) -> None:
    axes = {name: {0: "batch", 1: f"{name}_1", 2: f"{name}_2"} for name in ("image", "grid")}
    with own_symbols():
        torch.onnx.export(
            network,
            inputs,
            file,
            input_names=["image", "grid"],
            output_names=["out"],
            opset_version=OPSET,
            dynamic_axes={**axes, "image": {0: "batch", 2: "height", 3: "width"}},
            dynamo=False,
        )


@pytest.mark.parametrize("padding", ["border", "reflection"])
@pytest.mark.filterwarnings("ignore")  # of the exporter that traces
def test_places_far_outside_are_sampled_as_by_pytorch(padding: str, tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    network, file = Sampling(padding), tmp_path / "sampling.onnx"
    _export(network, file, torch.rand(2, 3, 8, 8), torch.rand(2, 4, 4, 2))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    edges = torch.tensor([-5.0, -3.0, -1.0, -0.0, 1.0, 3.0, 5.0])
    for height, width, reach in ((8, 8, 1), (7, 13, 9), (1, 1, 3), (50, 30, 1.1)):
        image = torch.rand(1, 3, height, width, generator=draws)
        grid = reach * (2 * torch.rand(1, 6, 14, 2, generator=draws) - 1)
        grid[0, 0, :7] = torch.stack([edges, edges.flip(0)], -1)
        feeds = {"image": image.numpy(), "grid": grid.numpy()}
        (result,) = session.run(None, feeds)
        expected = network(image, grid).numpy()
        assert result.shape == expected.shape == (1, 12, 3, 7)
        assert np.abs(result - expected).max() < 2e-5  # of a place at 9: float32 knows it no better


def test_another_way_of_sampling_is_not_exported_as_this_one(tmp_path: Path) -> None:
    """The exporter would write it; nobody compared it."""
    with pytest.raises(Exception, match="grid_sample"), pytest.warns():
        _export(
            Sampling("zeros"), tmp_path / "a.onnx", torch.rand(1, 3, 8, 8), torch.rand(1, 4, 4, 2)
        )
