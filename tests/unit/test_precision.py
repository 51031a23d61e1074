"""`precision: auto` is a function of the device alone."""

import pytest
import torch

from refsr.training import precision
from refsr.training.precision import NATIVE_BFLOAT16, choose_precision


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_named_precision_is_taken(name: str, device: str) -> None:
    assert choose_precision(name, device) == name


def test_this_cpu_chooses_by_its_instructions() -> None:
    native = any(torch.cpu.get_capabilities().get(name) for name in NATIVE_BFLOAT16)
    assert choose_precision("auto", "cpu") == ("bfloat16" if native else "float32")


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"architecture": "aarch64", "neon": True}, "float32"),
    ],
)
def test_cpus_that_are_not_this_one(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", "cpu") == chosen


def test_no_clock_is_read() -> None:
    assert not {"time", "timeit", "perf_counter"} & set(vars(precision))
