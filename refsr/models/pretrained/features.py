"""How far apart two images are in the features of a network."""

from collections.abc import Sequence

import torch

LEAST = 1e-6  # norm of features that are divided by their norm


def feature_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N,) in [0, 4]: squared differences of unit features, mean over places, then layers.

    `a` and `b` are the feature maps of N images each, (N, C, h, w) per layer. As in LPIPS (Zhang et
    al., CVPR 2018) every place is normalised over its channels; other than in LPIPS no weights are
    learned.
    """
    layers = [_squared_difference(p, q).mean((1, 2)) for p, q in zip(a, b, strict=True)]
    return torch.stack(layers).mean(0)


def _squared_difference(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """|p / |p| - q / |q||^2 over channels, (N, C, h, w) both -> (N, h, w); 0 stays 0 when divided.

    By products of p and q alone, which takes half the time of dividing them.
    """
    p, q = (features.float().movedim(1, -1) for features in (p, q))
    pp, qq, pq = (torch.linalg.vecdot(x, y) for x, y in ((p, p), (q, q), (p, q)))
    by_p, by_q = (square.clamp(min=LEAST**2).rsqrt() for square in (pp, qq))
    squares: torch.Tensor = pp * by_p * by_p + qq * by_q * by_q - 2 * pq * by_p * by_q
    return squares
