"""The threads that do what requests ask for, and a bounded number of places for requests."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_MEMORY = 0.8  # share of the former mean where a job's seconds join it
_RECENT = 100  # jobs whose slowest the promise counts with


class Place:
    """A request's place among those that are admitted."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._job: Future[object] | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in a thread of the worker, when it is this request's turn."""
        job = self._worker.submit(function)
        self._job = job  # type: ignore[assignment]
        return await asyncio.wrap_future(job)

    def leave(self) -> None:
        """The request is over. A job that cannot be stopped keeps the place until it ends."""
        if self._job is None:
            self._worker.release()
            return
        self._job.cancel()
        loop = asyncio.get_running_loop()
        self._job.add_done_callback(lambda _: _call(loop, self._worker.release))


class Worker:
    """Runs jobs in turn; `enter` and `release` belong to the thread of the event loop."""

    def __init__(self, room: int, threads: int = 1) -> None:
        self._room, self._threads = room, threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._seconds = 1.0
        self._recent = deque[float](maxlen=_RECENT)
        self._began: dict[int, float] = {}  # by thread
        self.admitted = 0

    def enter(self) -> Place | None:
        """A place; None where all are taken."""
        if self.admitted >= self._room:
            return None
        self.admitted += 1
        return Place(self)

    def release(self) -> None:
        """A place is free again."""
        self.admitted -= 1

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Put a job behind the others."""
        return self._executor.submit(self._timed, function)

    @property
    def wait(self) -> int:
        """Whole seconds after which there may be a place, by the mean of recent jobs."""
        return max(1, math.ceil(self._seconds / self._threads))

    @property
    def promise(self) -> float:
        """Seconds within which an admitted request is answered.

        It waits for all other places, each as slow as the slowest of recent jobs.
        """
        return math.ceil(self._room / self._threads) * max(self._recent, default=1.0)

    @property
    def running(self) -> float:
        """Seconds that the present jobs have been running, the longest; 0 without one."""
        now = time.monotonic()
        return max((now - began for began in [*self._began.values()]), default=0.0)

    def end(self) -> None:
        """Drop what waits; the threads end with their jobs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _timed(self, function: Callable[[], T]) -> T:
        thread, began = threading.get_ident(), time.monotonic()
        self._began[thread] = began
        try:
            return function()
        finally:
            del self._began[thread]
            spent = time.monotonic() - began
            self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * spent
            self._recent.append(spent)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
