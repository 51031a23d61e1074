"""A function whose processor time is bounded, wherever it hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
_LOOK = 0.2  # seconds between two looks at the clock of the thread


class OvertimeError(Exception):
    """A function took more processor time than it may."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """The result of `function`, which runs in a thread of its own.

    Its code has to release Python's lock now and then, as decoders do. After an OvertimeError the thread
    goes on until it ends, or the process does.

    Args:
        seconds: Processor time of that thread, not time on the wall.
        function: What it raises is raised here.

    Raises:
        OvertimeError: The time is over.
    """
    future: Future[T] = Future()
    clock: Future[int] = Future()
    # A thread of an executor would be waited for at the end of the process.
    threading.Thread(target=_run, args=(future, clock, function), daemon=True).start()
    while not wait([future], min(_LOOK, seconds)).done:
        if _spent(clock.result()) > seconds:
            raise OvertimeError(f"more than {seconds:g} s of processor time")
    return future.result()


def _spent(clock: int) -> float:
    """Seconds on the clock of a thread; none of one that has just ended."""
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
