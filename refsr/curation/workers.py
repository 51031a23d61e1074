"""Process pools: one worker per core, single-threaded, ended with its parent."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
import torch

from refsr.curation import crash_journal
from refsr.errors import RefsrError
from refsr.io.arrays import map_arrays

DECODED = 2**25  # bytes from which on arrays are mapped by themselves while images are measured: above most images
_AHEAD = 3  # items each worker may be ahead of the reader

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    function: Callable[[T], R], items: Iterable[T], workers: int, journal: crash_journal.Journal
) -> Iterator[R]:
    """`function` of each item, in order, worked out in processes of one thread each; one worker is this very process.

    Processes are started anew (spawned), since a fork would take over the locks of this one's threads. Raises
    RefsrError where one of them is killed, and names the image that it decoded then, which is left out from then on.
    """
    if workers == 1:
        with _single_threaded():
            yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(journal,))
    try:
        yield from _ahead(pool, function, items, workers)
    except BrokenProcessPool as error:
        pool.shutdown(cancel_futures=True)  # the others end, and take back what they noted
        images = journal.blame()
        told = f" while it decoded {', '.join(images)}, left out when you run again" if images else ""
        raise RefsrError(
            f"a worker process was killed{told}, most likely for want of memory; run again with fewer cores (taskset) "
            "or more memory: what was measured is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        journal.clear()


def _ahead(pool: ProcessPoolExecutor, function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > _AHEAD * workers:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Neither torch nor OpenCV may split work among threads, lest sums come in another order."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    prepare_process()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def prepare_process() -> None:
    """One thread, and a heap that keeps what one image leaves for the next, since new pages take longer."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    map_arrays(DECODED)


def _start_worker(journal: crash_journal.Journal) -> None:
    prepare_process()
    journal.open()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told as well, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
