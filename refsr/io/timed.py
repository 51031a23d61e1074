"""Run a function with a limit on its processor time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
_INTERVAL = 0.2  # seconds between two readings of the thread's clock


class OvertimeError(Exception):
    """A function exceeded its processor time."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """Run `function` in a thread of its own, and return its result or raise its exception.

    Its code must release Python's lock from time to time, as decoders do. After an OvertimeError
    the thread continues until it, or the process, ends.

    Args:
        seconds: Limit of the thread's processor time.
        function: What to run.

    Raises:
        OvertimeError: The limit is exceeded.
    """
    future: Future[T] = Future()
    clock: Future[int] = Future()
    # The end of the process would wait for a thread of an executor.
    threading.Thread(target=_run, args=(future, clock, function), daemon=True).start()
    while not wait([future], min(_INTERVAL, seconds)).done:
        if _spent(clock.result()) > seconds:
            raise OvertimeError(f"more than {seconds:g} s of processor time")
    return future.result()


def _spent(clock: int) -> float:
    """Seconds on the clock of a thread; 0 for one that has ended."""
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


def _run(future: "Future[T]", clock: "Future[int]", function: Callable[[], T]) -> None:
    clock.set_result(time.pthread_getcpuclockid(threading.get_ident()))
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
