"""Small photos as they are: no clean bicubic made them. Each is a way from HR to LR.

A way takes HR (B, 3, H, W) in [0, 1] and the scale, and returns the true image and LR in 8-bit
steps. Only the last one moves the face, and with it the true image.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_8_bits, to_images, to_pixels
from refsr.io.jpeg import decode

QUALITY = 30  # of a JPEG
NOISE = 8 / 255  # standard deviation
BLUR = 0.5  # standard deviation, LR pixels
SHIFT = 3 / 32  # of the side of HR, to the right and down

Way = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]


def bicubic(hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As in training."""
    return hr, reduce(hr, scale)


def jpeg(hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """LR is saved as a JPEG of quality 30."""
    return hr, as_jpegs(reduce(hr, scale), [QUALITY] * len(hr))


def as_jpegs(images: torch.Tensor, qualities: Sequence[int]) -> torch.Tensor:
    """Images (B, 3, h, w) in [0, 1] after saving, each with its quality of 1 to 100."""
    each = zip(to_pixels(images), qualities, strict=True)
    saved = [_saved(image, quality) for image, quality in each]
    return to_images(np.stack(saved), images.device)


def _saved(image: np.ndarray, quality: int) -> np.ndarray:
    """(h, w, 3) uint8 RGB after saving."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return decode(data.tobytes())


def blur(hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """HR is out of focus: a Gaussian of half an LR pixel."""
    radius = 2 * scale
    places = torch.arange(-radius, radius + 1, dtype=hr.dtype, device=hr.device)
    window = (-(places**2) / (2 * (BLUR * scale) ** 2)).exp()
    window = (window / window.sum()).expand(3, 1, 1, -1)
    soft = F.pad(hr, [radius] * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(soft, window, groups=3), window.mT, groups=3)
    return hr, reduce(soft.clamp(0, 1), scale)


def noise(hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """LR with Gaussian noise of 8 levels, the same whenever it is drawn."""
    lr = reduce(hr, scale)
    drawn = torch.randn(lr.shape, generator=torch.Generator().manual_seed(0)).to(lr)
    return hr, to_8_bits(lr + NOISE * drawn)


def off_centre(hr: torch.Tensor, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The crop is moved, so that the face lies to the right and below where it was in training."""
    shift = round(SHIFT * hr.shape[-1])
    moved = F.pad(hr, [shift, 0, shift, 0], mode="reflect")[..., : hr.shape[-2], : hr.shape[-1]]
    return moved, reduce(moved, scale)


WAYS: dict[str, Way] = {
    "bicubic": bicubic,
    "jpeg_30": jpeg,
    "blur": blur,
    "noise": noise,
    "off_centre": off_centre,
}
