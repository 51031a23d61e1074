"""LPIPS (Zhang et al., CVPR 2018), version 0.1 with VGG16.

It runs only with its authors' weights, which no package ships here.

The weights file is the state of the authors' own network, saved where their package and torchvision
are installed:

    torch.save(lpips.LPIPS(net="vgg").state_dict(), "lpips_vgg.pth")
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from refsr.errors import RefsrError
from refsr.io.exhausted import lacks_memory_for

# index of each convolution in torchvision's VGG16 and its channels, in the five slices after which
# LPIPS looks
SLICES = (((0, 64), (2, 64)), ((5, 128), (7, 128)), ((10, 256), (12, 256), (14, 256)),
          ((17, 512), (19, 512), (21, 512)), ((24, 512), (26, 512), (28, 512)))  # fmt: skip
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """(sr, hr), (N, 3, H, W) in [0, 1] each -> (N,); frozen.

    Raises RefsrError where the file is not such a state.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        weights = _read(path)
        self.slices = nn.ModuleList(
            _slice(weights, number, layers) for number, layers in enumerate(SLICES, 1)
        )
        self.linear = nn.ParameterList(
            weights[f"lin{number}.model.1.weight"] for number in range(len(SLICES))
        )
        self.register_buffer("shift", torch.tensor(SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[None, :, None, None])
        self.requires_grad_(False)
        self.eval()

    def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(sr), device=sr.device)
        for a, b, linear in zip(self._features(sr), self._features(hr), self.linear, strict=True):
            total = total + F.conv2d((_unit(a) - _unit(b)).square(), linear).mean((1, 2, 3))
        return total

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = (2 * images - 1 - self.shift) / self.scale
        features: list[torch.Tensor] = []
        for layers in self.slices:
            x = layers(F.max_pool2d(x, 2) if features else x)
            features.append(x)
        return features


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _slice(
    weights: dict[str, torch.Tensor], number: int, layers: tuple[tuple[int, int], ...]
) -> nn.Sequential:
    modules: list[nn.Module] = []
    for index, channels in layers:
        weight = weights[f"net.slice{number}.{index}.weight"]
        layer = nn.Conv2d(weight.shape[1], channels, 3, padding=1)
        layer.load_state_dict(
            {"weight": weight, "bias": weights[f"net.slice{number}.{index}.bias"]}
        )
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The state, read as data; every tensor that is needed is there."""
    hint = (
        'save lpips.LPIPS(net="vgg").state_dict() with torch.save, '
        "or leave `lpips` out of the parameters"
    )
    try:
        weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such file of LPIPS weights; {hint}") from error
    except Exception as error:  # torch.load raises what it likes for a damaged or foreign file
        if lacks_memory_for(error, path):
            raise
        raise RefsrError(f"{path}: cannot be read as LPIPS weights ({error}); {hint}") from error
    needed = [
        f"net.slice{number}.{index}.weight"
        for number, layers in enumerate(SLICES, 1)
        for index, _ in layers
    ]
    needed += [name.replace("weight", "bias") for name in needed]
    needed += [f"lin{number}.model.1.weight" for number in range(len(SLICES))]
    missing = [name for name in needed if not isinstance(weights, dict) or name not in weights]
    if missing:
        raise RefsrError(
            f"{path}: not the weights of LPIPS with VGG16: no tensor {missing[0]}; {hint}"
        )
    return weights
