"""How near restored images are to true ones: what a generative phase is kept for."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from refsr.dataset.tensors import to_8_bits
from refsr.evaluation.image_quality import psnr
from refsr.evaluation.kid import kernel_distance, texture
from refsr.models import SuperResolver
from refsr.models.pretrained import VggHedFeatures

BATCH = 32


@torch.inference_mode()
def realism(
    networks: Mapping[str, SuperResolver],
    hr: torch.Tensor,
    lr: torch.Tensor,
    ref: torch.Tensor,
    seed: int,
) -> dict[str, dict[str, float]]:
    """{"kid", "psnr", "pattern"} of each network's outputs, by name.

    The kernel distance to HR, dB, and `pattern`, which shows hatching.

    The kernel distance is that of refsr.evaluation.kid, but to the same people as the outputs:
    other people, as in a report, are as far from these as their outputs with a right reference
    are, so that only the very people tell sharp from blurred.

    Args:
        networks: Networks, all on one device.
        hr: (N, 3, H, H) in [0, 1]; N > 1.
        lr: (N, 3, h, h), what is restored.
        ref: (N, 3, H, H), the right reference of each.
        seed: Draws the subsets of the kernel distance.
    """
    device = next(next(iter(networks.values())).parameters()).device  # type: ignore[attr-defined]
    features = VggHedFeatures().to(device)

    def textures(images: torch.Tensor) -> np.ndarray:
        array: np.ndarray = texture(features(images)).cpu().numpy()
        return array

    known: list[np.ndarray] = []
    restored: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    decibels: dict[str, list[torch.Tensor]] = {name: [] for name in networks}
    squares: dict[str, list[float]] = {name: [] for name in networks}
    for start in range(0, len(hr), BATCH):
        true, small, right = (each[start : start + BATCH].to(device) for each in (hr, lr, ref))
        known.append(textures(true))
        for name, network in networks.items():
            sr = to_8_bits(network.upscale(small, right))
            restored[name].append(textures(sr))
            decibels[name].append(psnr(sr, true).cpu())
            squares[name].append(len(sr) * pattern(sr) ** 2)
    of_truth = np.concatenate(known)
    return {
        name: {
            "kid": kernel_distance(np.concatenate(each), of_truth, seed)["mean"],
            "psnr": float(torch.cat(decibels[name]).double().mean()),
            "pattern": math.sqrt(sum(squares[name]) / len(hr)),
        }
        for name, each in restored.items()
    }


def pattern(images: torch.Tensor) -> float:
    """The root mean square of a chequered pattern of two pixels, in 8-bit steps.

    Only what repeats over eight pixels counts, which noise and edges hardly do: outputs that have
    more of it than true images show hatching. `images` are (N, 3, H, W) in [0, 1].
    """
    kernel = images.new_tensor([[[[1.0, -1.0], [-1.0, 1.0]]]]) / 4
    chequers = F.conv2d(images.mean(1, keepdim=True), kernel, stride=2)
    return float(255 * F.avg_pool2d(chequers, 4).square().mean().sqrt())
