"""The face recognition network of dlib (ResNet-29, 5.6 million parameters).

It is read from dlib's own file format.

Source: D. King, "High Quality Face Recognition with Deep Metric Learning", 2017; weights are in the
public domain (CC0). It was trained so that two photos of one person lie less than 0.6 apart in its
128 dimensions.
"""

import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.errors import RefsrError
from refsr.models.pretrained.files import package_file

CHIP_SIZE = 150  # pixels; what the network was trained on
CONVOLUTIONS = 29
MEAN_RGB = (122.782, 117.001, 104.298)


def face_chips(images: torch.Tensor) -> torch.Tensor:
    """Square crops (N, 3, H, H) in [0, 1] -> chips (N, 3, 150, 150) in [0, 255], all by one rule.

    The whole crop is resampled (bicubic, antialiased): a curated crop, 1.3 times the face box,
    holds about as much around the face as the chips dlib was trained on. No landmarks are sought:
    they would be found better on some outputs than on others, and so favour them.
    """
    chips = F.interpolate(
        images.float(), size=(CHIP_SIZE, CHIP_SIZE), mode="bicubic", antialias=True
    )
    return chips.clamp(0, 1) * 255


def identity_embeddings(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The network's 128 numbers for each square crop: (N, 3, H, H) in [0, 1] -> (N, 128)."""
    embeddings: torch.Tensor = network(face_chips(images))
    return embeddings


def identity_similarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of two sets of embeddings: (N, 128), (N, 128) -> (N,).

    The embeddings all lie in one narrow cone, so that the cosine of two strangers is far above 0;
    only differences between cosines on the same data mean anything.
    """
    return F.cosine_similarity(a, b, dim=1)


def identity_network() -> "DlibResNet":
    """The network with its weights: RGB chips (N, 3, 150, 150) in [0, 255] -> (N, 128).

    It is frozen and in evaluation mode. Raises RefsrError where the weights are not installed or
    damaged.
    """
    path = package_file(
        "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
    )
    network = DlibResNet(*_read(path))
    network.requires_grad_(False)
    return network.eval()


class DlibResNet(nn.Module):
    """dlib's anet: a stem and 14 residual blocks.

    Each affine layer is folded into the convolution before it.
    """

    mean: torch.Tensor
    projection: torch.Tensor

    def __init__(self, convolutions: list[nn.Conv2d], projection: torch.Tensor) -> None:
        super().__init__()
        self.stem = convolutions[0]
        self.blocks = nn.ModuleList(
            _Residual(first, second)
            for first, second in zip(convolutions[1::2], convolutions[2::2], strict=True)
        )
        self.register_buffer("projection", projection)
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[None, :, None, None])

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        """RGB (N, 3, 150, 150) in [0, 255] -> (N, 128)."""
        x = F.relu(self.stem((chips - self.mean) / 256))
        x = F.max_pool2d(x, 3, 2)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3)) @ self.projection


class _Residual(nn.Module):
    """Two convolutions and a way past them.

    A block that halves the size averages 2x2 pixels on that way.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.halves = first.stride[0] == 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(F.relu(self.first(x)))
        return F.relu(_add(y, F.avg_pool2d(x, 2, 2) if self.halves else x))


def _add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The sum as dlib has it: zeros fill up the channels, rows and columns of the smaller one."""
    if a.shape == b.shape:
        return a + b
    size = [max(p, q) for p, q in zip(a.shape[1:], b.shape[1:], strict=True)]
    return _fill(a, size) + _fill(b, size)


def _fill(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    channels, height, width = size
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))


def _read(path: Path) -> tuple[list[nn.Conv2d], torch.Tensor]:
    """The convolutions in order, affine layers folded in, and the last projection (256, 128)."""
    try:
        convolutions, affine, projection = _parse(path.read_bytes())
    except (ValueError, IndexError):  # it ends in the middle of a layer
        convolutions, affine, projection = [], 0, None
    if projection is None or (len(convolutions), affine) != (CONVOLUTIONS, CONVOLUTIONS):
        raise RefsrError(
            f"{path}: not dlib's face recognition network, version 1; run `make setup` again"
        )
    return convolutions, projection


def _parse(data: bytes) -> tuple[list[nn.Conv2d], int, torch.Tensor | None]:
    """(convolutions, number of affine layers, projection).

    Layers stand in the file from input to output.
    """
    convolutions: list[nn.Conv2d] = []
    affine = 0
    projection = None
    for match in re.finditer(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2", data):
        reader = _Reader(data, match.end())
        if match.group().endswith(b"con_4"):
            convolutions.append(_convolution(reader))
        elif match.group().endswith(b"affine_"):
            _fold(convolutions[-1], reader.tensor())
            affine += 1
        else:
            outputs, inputs = reader.integer(), reader.integer()
            projection = torch.from_numpy(reader.tensor().reshape(inputs, outputs))
    return convolutions, affine, projection


class _Reader:
    """dlib's serialisation.

    Integers carry their length and sign in a first byte, tensors are little-endian floats.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def integer(self) -> int:
        control = self.data[self.position]
        end = self.position + 1 + (control & 0x0F)
        value = int.from_bytes(self.data[self.position + 1 : end], "little")
        self.position = end
        return -value if control & 0x80 else value

    def tensor(self) -> np.ndarray:
        self.integer()  # version
        count = int(np.prod([self.integer() for _ in range(4)]))
        values = np.frombuffer(self.data, "<f4", count, self.position).copy()
        self.position += 4 * count
        return values


def _convolution(reader: _Reader) -> nn.Conv2d:
    """One layer: weights then biases in one tensor, followed by its shape."""
    values = reader.tensor()
    filters, rows, columns, stride, _, padding, _ = (reader.integer() for _ in range(7))
    channels = (values.size - filters) // (filters * rows * columns)
    layer = nn.Conv2d(channels, filters, (rows, columns), stride, padding)
    weight = torch.from_numpy(values[:-filters].reshape(filters, channels, rows, columns))
    layer.weight.data = weight.contiguous(memory_format=torch.channels_last)
    layer.bias = nn.Parameter(torch.from_numpy(values[-filters:]))
    return layer


def _fold(layer: nn.Conv2d, affine: np.ndarray) -> None:
    """gamma * (w x + b) + beta as one convolution."""
    gamma, beta = torch.from_numpy(affine).chunk(2)
    layer.weight.data *= gamma[:, None, None, None]
    if layer.bias is not None:
        layer.bias.data = layer.bias.data * gamma + beta
