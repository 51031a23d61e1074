"""How near restored images are to true ones: what a generative phase is kept for."""

from collections.abc import Mapping

import numpy as np
import torch

from refsr.dataset.degradation import reduce
from refsr.evaluation.kid import kernel_distance
from refsr.evaluation.outputs import texture
from refsr.evaluation.protocol import to_8_bits
from refsr.models import SuperResolver
from refsr.models.pretrained import VggHedFeatures

BATCH = 32


@torch.inference_mode()
def realism_distances(
    networks: Mapping[str, SuperResolver],
    hr: torch.Tensor,
    ref: torch.Tensor,
    true: torch.Tensor,
    *,
    scale: int,
    seed: int,
) -> dict[str, float]:
    """The kernel distance (refsr.evaluation.kid) of each network's outputs to `true`, by name.

    Args:
        networks: Networks, all on one device.
        hr: (N, 3, H, H) in [0, 1], what is reduced and restored; N > 1.
        ref: (N, 3, H, H), the right reference of each.
        true: (M, 3, H, H), images of other people; M > 1.
        scale: HR side over LR side.
        seed: Draws the subsets.
    """
    device = next(next(iter(networks.values())).parameters()).device  # type: ignore[attr-defined]
    features = VggHedFeatures().to(device)

    def textures(images: torch.Tensor) -> torch.Tensor:
        return texture(features(images)).cpu()

    known = torch.cat([textures(part.to(device)) for part in true.split(BATCH)]).numpy()
    restored: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for images, references in zip(hr.split(BATCH), ref.split(BATCH), strict=True):
        lr, right = reduce(images.to(device), scale), references.to(device)
        for name, network in networks.items():
            restored[name].append(textures(to_8_bits(network.upscale(lr, right))).numpy())
    return {
        name: kernel_distance(np.concatenate(each), known, seed)["mean"]
        for name, each in restored.items()
    }
