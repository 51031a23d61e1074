"""Batches that are read by threads ahead of the step that takes them."""

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from refsr.training.pairs import Batch, Drawn, Pairs

THREADS = min(4, os.cpu_count() or 1)  # a read from a disk or a network is waited for in each
AHEAD = 4  # batches in memory at most


def batches(pairs: Pairs, device: str, start: int, stop: int) -> Generator[Batch, None, None]:
    """The batches of steps `start` ... `stop` - 1 on the device, in their order.

    Close it, as contextlib.closing does: no batch is begun after that.
    """
    place = torch.device(device)
    waiting: deque[Future[Drawn]] = deque()
    pool = ThreadPoolExecutor(THREADS, "batch", _prepare_thread, _current(device))
    try:
        for step in range(start, stop + AHEAD):
            if step < stop:
                waiting.append(pool.submit(_drawn, pairs, step, device))
            if step >= start + AHEAD:
                yield pairs.placed(waiting.popleft().result(), place)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _drawn(pairs: Pairs, step: int, device: str) -> Drawn:
    drawn = pairs.draw(step)
    return drawn.pinned() if device == "cuda" else drawn


def _current(device: str) -> tuple[int, ...]:
    """The number of this process's GPU: a new thread would take the first for its own."""
    return (torch.cuda.current_device(),) if device == "cuda" else ()


def _prepare_thread(*gpu: int) -> None:
    if gpu:
        torch.cuda.set_device(*gpu)
