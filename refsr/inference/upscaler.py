"""One face and one reference of any size -> the face at the model's own size, as 8-bit pixels."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.dataset.tensors import to_8_bits, to_images, to_pixels
from refsr.inference import fitting
from refsr.inference.fitting import content, scaled
from refsr.inference.options import Options
from refsr.models import SuperResolver
from refsr.models.compatibility import FITS, MISFIT, score
from refsr.models.device import choose_device

_DRAWING = threading.Lock()  # the generator is that of the process


def upscale(model: nn.Module, lr: np.ndarray, ref: np.ndarray | None = None) -> np.ndarray:
    """LR (h, w, 3) and reference (H, W, 3) or None -> SR, all uint8 RGB.

    The longer side of SR is the model's hr_size. Both are to be crops of the face, as loose as
    those the model was trained on.
    """
    sr: np.ndarray = upscale_batch(model, lr[None], None if ref is None else ref[None])[0]
    return sr


@torch.inference_mode()
def upscale_batch(model: nn.Module, lr: np.ndarray, ref: np.ndarray | None = None) -> np.ndarray:
    """LR (B, h, w, 3) and references (B, H, W, 3) or None -> SR (B, h', w', 3), all uint8 RGB.

    An image is fitted to the square the model takes: resized so that its longer side fits,
    antialiased, and the rest filled with its own edge. What was filled in is cut off again, so that
    SR has the proportions of LR. An LR image that is larger than the model's is reduced, and loses
    what it had more: see `sizes`.
    """
    device = next(model.parameters()).device
    _, hr_size = sizes(model)
    references = None if ref is None else _fit(to_images(ref, device), hr_size)
    return _upscaled(model, lr, references)


@torch.inference_mode()
def upscale_by(
    model: nn.Module,
    lr: np.ndarray,
    references: Sequence[Sequence[np.ndarray]],
    options: Options = Options(),  # noqa: B008  it cannot be changed
) -> np.ndarray:
    """LR (B, h, w, 3) and of each as many references, (H, W, 3) -> SR (B, h', w', 3), uint8 RGB.

    Sizes as in `upscale`; of several references a variant that knows one takes the first.
    """
    if options.device is not None:
        model.to(choose_device(options.device))
    device = next(model.parameters()).device
    _, hr_size = sizes(model)
    known = {id(each): each for given in references for each in given}  # often the same for all
    fitted = {key: _fit(to_images(each[None], device), hr_size) for key, each in known.items()}
    sets = [torch.cat([fitted[id(each)] for each in given]) for given in references if given]
    stacked = torch.stack(sets) if sets else None  # (B, R, 3, H, W)
    if stacked is not None and stacked.shape[1] == 1:
        stacked = stacked[:, 0]
    return _upscaled(model, lr, stacked, options)


def compatibility(
    model: nn.Module, lr: np.ndarray, references: Sequence[np.ndarray]
) -> list[float | None]:
    """How well each reference (H, W, 3) fits LR (h, w, 3), uint8 RGB of any size.

    The probability in [0, 1] that both show one person, or None where the model does not say.
    """
    if not references:
        return []
    device = next(model.parameters()).device
    size, hr_size = sizes(model)
    fitted = [_fit(to_images(each[None], device), hr_size) for each in references]
    small = _fit(to_images(lr[None], device), size)
    scores = score(model, small, torch.stack(fitted, dim=1))
    return [None] * len(fitted) if scores is None else scores[0].tolist()


def fit_sentence(name: object, fit: float, *, left_out: bool = False) -> str:
    """What the score of a reference means, for users."""
    if fit < MISFIT:
        then = "it is left out" if left_out else "the result may show another person"
        return f"{name}: does not fit the face ({fit:.2f}): {then}"
    if fit < FITS:
        return f"{name}: may not fit the face ({fit:.2f})"
    return f"{name}: fits ({fit:.2f})"


def _upscaled(
    model: nn.Module,
    lr: np.ndarray,
    references: torch.Tensor | None,
    options: Options = Options(),  # noqa: B008  it cannot be changed
) -> np.ndarray:
    """LR (B, h, w, 3), fitted references (B, 3, H, W) or (B, R, 3, H, W) -> SR (B, h', w', 3)."""
    device = next(model.parameters()).device
    size, hr_size = sizes(model)
    small = _fit(to_images(lr, device), size)
    given = {"temperature": options.temperature, "fidelity": options.fidelity}
    with _seeded(options, device):
        sr = cast(SuperResolver, model).upscale(small, references, **given)
    height, width = lr.shape[1:3]
    sr = sr[:, :, *content(height, width, size, hr_size // size)]
    sr = _resize(sr.float(), *scaled(height, width, hr_size))
    return to_pixels(sr)


@contextmanager
def _seeded(options: Options, device: torch.device) -> Iterator[None]:
    """What is drawn in the block depends on the seed alone, and nothing outside on it."""
    if options.temperature == 0:
        yield
        return
    with _DRAWING, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        yield


def sizes(model: nn.Module) -> tuple[int, int]:
    """The sides of the square LR image a model takes and of the HR image it gives, pixels."""
    return fitting.sizes(cast(SuperResolver, model).config)


def _fit(images: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, h, w) -> (B, 3, side, side).

    The longer side fits, the other is filled with the edge on both sides.
    """
    rows, columns = content(images.shape[-2], images.shape[-1], side)
    images = _resize(images, rows.stop - rows.start, columns.stop - columns.start)
    return F.pad(
        to_8_bits(images),
        (columns.start, side - columns.stop, rows.start, side - rows.stop),
        mode="replicate",
    )


def _resize(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)
