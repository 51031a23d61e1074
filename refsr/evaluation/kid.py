"""Kernel distance between two sets of images (Binkowski et al., ICLR 2018).

The kernel and the estimator are KID's; the features are not Inception's but VGG16-HED's conv5_3,
averaged over places and brought to one length, so the numbers compare with nobody else's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

SUBSETS = 100
_TINY = 1e-12
LARGEST = 100  # images in a subset


def texture(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """The features of images: those of the last layer, (N, C, h, w), averaged over places."""
    return features[-1].mean((2, 3))


def kernel_distances(
    sets: Mapping[str, np.ndarray],
    reference: np.ndarray,
    name: str,
    seed: int,
) -> dict[str, Any]:
    """{"reference_set": name, condition: {mean, sd}}: features (N, D) against the reference set."""
    distances: dict[str, Any] = {
        key: kernel_distance(each, reference, seed) for key, each in sets.items()
    }
    return {"reference_set": name} | distances


def kernel_distance(a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, float]:
    """{mean, sd} of the unbiased squared MMD of features (N, D) and (M, D), over random subsets.

    Features are first brought to the length sqrt(D); those of length 0 stay. The mean may
    be negative where the sets do not differ. The sd is that of the subsets, not a standard error.
    """
    rng = np.random.default_rng(seed)
    a, b = (x / np.maximum(np.sqrt(np.square(x).mean(1, keepdims=True)), _TINY) for x in (a, b))
    size = min(len(a), len(b), LARGEST)
    values = [
        squared_mmd(*(x[rng.choice(len(x), size, replace=False)] for x in (a, b)))
        for _ in range(SUBSETS)
    ]
    return {"mean": float(np.mean(values)), "sd": float(np.std(values))}


def squared_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased squared maximum mean discrepancy: (n, D), (m, D) -> ().

    The kernel is (x.y / D + 1)^3.
    """
    n, m = len(a), len(b)
    aa, bb, ab = (_kernel(x, y) for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel: np.ndarray = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
