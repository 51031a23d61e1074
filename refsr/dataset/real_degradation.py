"""HR -> LR as real small photos come about: out of focus, noisy, saved and saved again.

Second order, as in Zhang et al., "Designing a Practical Degradation Model", ICCV 2021, and
Wang et al., "Real-ESRGAN", ICCVW 2021, but milder: a face of 16 pixels has little to lose. Half of
the way down, and again at LR, an image is blurred, gets noise, and is saved as a JPEG, in an order
drawn for the batch; each of these befalls an image or not. A quarter of the images get none of it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from refsr.dataset.degradation import reduce
from refsr.dataset.small_photos import as_jpegs
from refsr.dataset.tensors import to_8_bits

CLEAN = 0.25  # share of images that are reduced by bicubic alone
CHANCE = 0.5  # of each step for an image
BLUR = 0.7  # greatest standard deviation, in pixels of the grid it acts on
NOISE = 12 / 255  # greatest standard deviation
QUALITY = (30, 95)  # of JPEGs
_RADIUS = 3  # pixels of the blur's window

Step = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def small(hr: torch.Tensor, scale: int, degradation: str, seed: int | None = None) -> torch.Tensor:
    """LR as `train_*.degradation` has it: "real", see `degrade`, or "bicubic".

    Without a seed, one is drawn by torch where it is needed.
    """
    if degradation == "bicubic":
        return reduce(hr, scale)
    return degrade(hr, scale, int(torch.randint(2**62, ())) if seed is None else seed)


def degrade(hr: torch.Tensor, scale: int, seed: int) -> torch.Tensor:
    """HR (B, 3, H, W) in [0, 1] -> LR (B, 3, H/scale, W/scale) in [0, 1], in 8-bit steps.

    Raises:
        ValueError: H or W is not a multiple of `scale`.
    """
    draw = torch.Generator().manual_seed(seed)
    lr = _worsened(reduce(hr, scale // 2), draw)
    lr = _worsened(reduce(lr, 2), draw)
    kept = torch.rand(len(hr), 1, 1, 1, generator=draw).to(hr.device) < CLEAN
    return torch.where(kept, reduce(hr, scale), to_8_bits(lr))


def _worsened(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Each of the steps, in a random order, on a random part of the images."""
    steps: list[Step] = [_blurred, _noisy, _saved]
    for index in torch.randperm(len(steps), generator=draw).tolist():
        worse = steps[index](images, draw)
        hit = torch.rand(len(images), 1, 1, 1, generator=draw).to(images.device) < CHANCE
        images = torch.where(hit, worse, images)
    return images


def _blurred(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Each by a Gaussian of its own."""
    count, channels = images.shape[:2]
    deviation = BLUR * torch.rand(count, 1, generator=draw).clamp(min=0.05)
    places = torch.arange(-_RADIUS, _RADIUS + 1)
    window = (-(places**2) / (2 * deviation**2)).exp()
    window = (window / window.sum(1, keepdim=True)).to(images).repeat_interleave(channels, 0)
    padded = F.pad(images, [_RADIUS] * 4, mode="replicate").flatten(0, 1)[None]
    groups = count * channels
    across = F.conv2d(padded, window[:, None, None], groups=groups)
    both = F.conv2d(across, window[:, None, :, None], groups=groups)
    return both.reshape(images.shape)


def _noisy(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Each with Gaussian noise of its own deviation."""
    deviation = NOISE * torch.rand(len(images), 1, 1, 1, generator=draw)
    noise = deviation * torch.randn(images.shape, generator=draw)
    return (images + noise.to(images.device)).clamp(0, 1)


def _saved(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Each as a JPEG of its own quality."""
    least, most = QUALITY
    quality = torch.randint(least, most + 1, (len(images),), generator=draw)
    return as_jpegs(images, quality.tolist())
