"""How PyTorch runs a training step: compiled or not, and with which algorithms."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

BACKEND = "inductor"
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS adds up in one order only with a fixed workspace


def compiled(losses: Callable[..., Any], device: str) -> Callable[..., Any]:
    """The forward pass and loss, compiled; on a GPU its kernels are launched as one CUDA graph."""
    if device != "cuda":
        return torch.compile(losses, backend=BACKEND)
    function = torch.compile(losses, backend=BACKEND, mode="reduce-overhead")

    def call(*args: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return function(*args)

    return call


@contextmanager
def deterministic(*, is_asked: bool) -> Iterator[None]:
    """During the block, use algorithms that give the same bytes each time.

    PyTorch warns of operations that have none. On a CPU all have one anyway.
    """
    if not is_asked:
        yield
        return
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    utils, cudnn = cast(Any, torch.utils.deterministic), torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        utils.fill_uninitialized_memory,
        cudnn.benchmark,
        cudnn.deterministic,
    )
    try:
        _set(True, True, False, False, True)
        yield
    finally:
        _set(*before)


def _set(algorithms: bool, warn_only: bool, fill: bool, benchmark: bool, cudnn: bool) -> None:
    torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
    cast(Any, torch.utils.deterministic).fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, cudnn
