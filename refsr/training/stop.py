"""Stop a training between two steps, so that what it has computed is saved.

A cluster takes a machine back with SIGTERM and kills after a while (Kubernetes: 30 s); a person
presses Ctrl-C.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from refsr.errors import StoppedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """The signal that asks to stop, once there is one."""

    def __init__(self) -> None:
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._number)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. Ctrl-C twice stops at once."""
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number

    def error(self, step: int) -> KeyboardInterrupt:
        """What ends the training. Other processes than the one with the signal stop alike."""
        if self._number == signal.SIGINT:
            return KeyboardInterrupt()
        return StoppedError(f"stopped by SIGTERM; the training is saved at step {step}")


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note SIGTERM and SIGINT during the block, where this is the main thread."""
    request = StopRequest()
    is_main = threading.current_thread() is threading.main_thread()
    handled = [each for each in _SIGNALS if is_main and signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, request.note) for each in handled}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
