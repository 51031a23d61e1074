"""Where and how precisely to compute.

It is a rule of the device, so that the same machine always chooses the same.
"""

import torch

from refsr.models.device import choose_device

__all__ = ["NATIVE_BFLOAT16", "choose_device", "choose_precision"]

NATIVE_BFLOAT16 = (
    "avx512_bf16",
    "amx_bf16",
)  # x86 instructions that multiply bfloat16 without widening it first


def choose_precision(requested: str, device: str) -> str:
    """ "float32" or "bfloat16".

    "auto" is bfloat16 on a GPU or CPU that has instructions for it, else float32.
    Nothing is timed: a busy machine must not train other weights than an idle one
    (docs/decisions/0009-precision-by-rule.md).
    """
    if requested != "auto":
        return requested
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether this CPU has an instruction of NATIVE_BFLOAT16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in NATIVE_BFLOAT16)
