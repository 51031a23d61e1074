"""How near restored images are to true ones: what a generative phase is kept for."""

from collections.abc import Mapping

import numpy as np
import torch

from refsr.evaluation.image_quality import psnr, to_8_bits
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
    """{"kid", "psnr"} of each network's outputs, by name: the kernel distance to HR, and dB.

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
    for start in range(0, len(hr), BATCH):
        true, small, right = (each[start : start + BATCH].to(device) for each in (hr, lr, ref))
        known.append(textures(true))
        for name, network in networks.items():
            sr = to_8_bits(network.upscale(small, right))
            restored[name].append(textures(sr))
            decibels[name].append(psnr(sr, true).cpu())
    of_truth = np.concatenate(known)
    return {
        name: {
            "kid": kernel_distance(np.concatenate(each), of_truth, seed)["mean"],
            "psnr": float(torch.cat(decibels[name]).double().mean()),
        }
        for name, each in restored.items()
    }
