"""Features of VGG19 as the paper's loss has them, from a file of weights that the user gives.

The weights are those of the Caffe model of Simonyan and Zisserman, which takes BGR pixels in
[0, 255] less their mean, under the names torchvision gives the layers ("features.0.weight" and so
on). torchvision's own weights have the same names and shapes but were trained on inputs of another
scale: here they would give features of another kind.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from refsr.errors import RefsrError
from refsr.io.exhausted import lacks_memory_for
from refsr.models.pretrained.vgg import VggFeatures, rgb_convolution

CONVOLUTIONS = (2, 2, 4, 4, 4)  # in each of the five blocks
WIDTHS = (64, 128, 256, 512, 512)
MEAN_RGB = (123.68, 116.779, 103.939)


class Vgg19Features(VggFeatures):
    """conv1_2 to conv5_4 with average pooling; `deepest` is conv5_4 before its ReLU, the paper's.

    `path` is a state dict, .safetensors or .pth (read as data, never code). Raises RefsrError where
    it is missing, damaged, or not of VGG19.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            _blocks(path, _tensors(path)), MEAN_RGB, lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True)
        )


def _tensors(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        plain = path.suffix == ".safetensors"
        tensors: Mapping[str, torch.Tensor]
        tensors = (
            load_file(path) if plain else torch.load(path, map_location="cpu", weights_only=True)
        )
        return tensors
    except FileNotFoundError as error:
        raise RefsrError(
            f"vgg19_weights: {path}: no such file; give VGG19's weights (.pth or .safetensors, "
            "layers named as in torchvision), "
            "or choose perceptual: hed or efficientnet, whose weights are installed"
        ) from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        if lacks_memory_for(error, path):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RefsrError(
            f"vgg19_weights: {path}: cannot be read as a state dict: {reason}"
        ) from error


def _blocks(path: Path, tensors: Mapping[str, torch.Tensor]) -> list[list[nn.Conv2d]]:
    """The convolutions, in torchvision's numbers: a ReLU after each, a pooling after each block."""
    blocks, place, inputs = [], 0, 3
    for count, width in zip(CONVOLUTIONS, WIDTHS, strict=True):
        block = []
        for _ in range(count):
            shapes = {"weight": (width, inputs, 3, 3), "bias": (width,)}
            values = [
                _tensor(path, tensors, f"features.{place}.{key}", shape)
                for key, shape in shapes.items()
            ]
            block.append(rgb_convolution(*(value.float().numpy() for value in values)))
            place, inputs = place + 2, width
        blocks.append(block)
        place += 1
    return blocks


def _tensor(
    path: Path, tensors: Mapping[str, torch.Tensor], name: str, shape: tuple[int, ...]
) -> torch.Tensor:
    value = tensors.get(name) if isinstance(tensors, Mapping) else None
    if not isinstance(value, torch.Tensor) or tuple(value.shape) != shape:
        actual = tuple(value.shape) if isinstance(value, torch.Tensor) else "missing"
        raise RefsrError(
            f"vgg19_weights: {path}: {name} is {actual}; "
            f"VGG19 has {shape} there: is it of another network?"
        )
    return value
