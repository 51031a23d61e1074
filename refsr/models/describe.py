"""Parameters, MACs and layers of a variant, counted on tensors without data."""

from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from refsr.errors import RefsrError
from refsr.models import SuperResolver, build
from refsr.variants import DEFAULT, VARIANTS


def describe(variant: str, hr_size: int, scale: int = 8) -> dict[str, Any]:
    """Both networks of a variant at `hr_size` pixels.

    {"variant", "hr_size", "scale", "sisr": {...}, "refsr": {...}}. Of each: `parameters`, those in
    training; `parameters_deployed`, those that `upscale` depends on; `macs`, the
    multiply-accumulates of convolutions and matrix products in one upscaled image; `layers`, the
    shape of each weight by layer. "default" is another name of the compact variant. Raises
    RefsrError for a variant that is not known, or a size that is not a multiple of 8 and of
    `scale`.
    """
    known = DEFAULT if variant == "default" else variant
    if known not in VARIANTS:
        raise RefsrError(f"no variant {variant!r}; known are: {', '.join(VARIANTS)}")
    if scale < 1 or hr_size < 1 or hr_size % 8 or hr_size % scale:
        raise RefsrError(
            f"HR of {hr_size} pixels at {scale}x: "
            "the size must be a multiple of 8 and of the scale",
        )
    facts = {"variant": known, "hr_size": hr_size, "scale": scale}
    return facts | {model: count({"model": model} | facts) for model in ("sisr", "refsr")}


def count(config: dict[str, Any]) -> dict[str, Any]:
    """The numbers and layers of the network of a configuration; see `describe`."""
    size, scale = config["hr_size"], config["scale"]
    with torch.device("meta"):
        network = build(config)
        hr = torch.empty(1, 3, size, size)
        lr = torch.empty(1, 3, size // scale, size // scale)
    macs = _trace_upscale(network, lr, hr)
    parameters = dict(network.named_parameters())
    return {
        "parameters": sum(p.numel() for p in parameters.values()),
        "parameters_deployed": sum(p.numel() for p in parameters.values() if p.grad is not None),
        "macs": macs,
        "layers": {
            name.removesuffix(".weight"): list(p.shape)
            for name, p in parameters.items()
            if not name.endswith("bias")
        },
    }


def _trace_upscale(network: nn.Module, lr: torch.Tensor, ref: torch.Tensor) -> int:
    """The multiply-accumulates of one `upscale`.

    Each parameter that took part is left with a gradient.
    """
    with FlopCounterMode(display=False) as counter:
        sr = cast(SuperResolver, network).upscale(lr, ref)
    sr.sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // 2
