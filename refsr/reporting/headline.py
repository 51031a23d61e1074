"""The ten numbers of an evaluation by which runs are compared at a glance."""

from collections.abc import Mapping

FILE = "headline.json"  # beside metrics.json, which has every number
NAMES = (
    "data.identities",
    "data.images",
    "psnr.bicubic.mean",
    "psnr.sisr.mean",
    "psnr.ref_right.mean",
    "ssim.ref_right.mean",
    "identity.ref_right.mean",
    "difference.right_minus_wrong.psnr.mean",
    "difference.right_minus_none.psnr.mean",
    "difference.right_minus_sisr.psnr.mean",
)


def headline(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those of `NAMES` that an evaluation has, of its numbers under dotted names."""
    return {name: numbers[name] for name in NAMES if name in numbers}
