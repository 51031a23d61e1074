"""Process pools: one worker per core, each with one thread, that end with their parent."""

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

from refsr.curation.crash_journal import Blamed, Journal
from refsr.errors import RefsrError

_AHEAD = 3  # items each worker may be ahead of the reader

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    journal: Journal,
) -> Iterator[R]:
    """Apply `function` to each item, in order.

    Processes are spawned: a fork would inherit the locks of this process's threads.

    Args:
        function: Runs in processes of one thread each.
        items: Its arguments.
        workers: Processes; 1 is this very process.
        journal: Notes the image each process decodes.

    Raises:
        RefsrError: A worker was killed; the message names the images it decoded, which later
            runs reject.
    """
    if workers == 1:
        yield from _in_this_process(function, items, journal)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(journal,))
    try:
        yield from _ahead(pool, function, items, workers)
    except BrokenProcessPool as error:
        pool.shutdown(cancel_futures=True)  # the other workers end, and remove their notes
        raise RefsrError(_worker_killed(journal.blame(), journal.seconds)) from error
    finally:
        pool.shutdown(cancel_futures=True)
        journal.clear()


def _in_this_process(
    function: Callable[[T], R],
    items: Iterable[T],
    journal: Journal,
) -> Iterator[R]:
    try:
        with _single_threaded(), journal.kept_here():
            yield from map(function, items)
    finally:
        journal.clear()


def _worker_killed(blamed: Blamed, seconds: float) -> str:
    """The message for a worker that was killed."""
    images = ", ".join(blamed.images)
    where = f" while it decoded {images}, left out when you run again" if images else ""
    start = f"a worker process was killed{where}"
    kept = "extracted features are kept"
    if blamed.late:
        why = f"it took more than {seconds:g} s of processor time"
        return f"{start}: {why}; run again: {kept}"
    way_out = "run again with fewer cores (taskset) or more memory"
    return f"{start}, most likely for lack of memory; {way_out}: {kept}"


def _ahead(
    pool: ProcessPoolExecutor,
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
) -> Iterator[R]:
    """Results in order; at most _AHEAD items per worker wait."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > _AHEAD * workers:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Use one thread during the block, so that sums are always in the same order."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    prepare_process()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def prepare_process() -> None:
    """Keep torch and OpenCV to one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _start_worker(journal: Journal) -> None:
    prepare_process()
    journal.open()
    # The parent receives SIGINT as well, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
