"""How every command line of this project ends: one message for a user's error, and a status."""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from refsr import log
from refsr.errors import RefsrError, StoppedError
from refsr.io.exhausted import shortage
from refsr.io.paths import file_errors_as_messages

INTERRUPTED = 130  # as a shell reports SIGINT


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; returns its exit status, 0 where it returns None.

    An error that its user can mend is logged as one message, without a traceback: status 1. A bug
    is raised.
    """
    log.set_up()
    try:
        with file_errors_as_messages():
            return command() or 0
    except RefsrError as error:
        log.error(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "refsr").startswith("refsr"):
            raise
        log.error(f"{sys.executable} has no {error.name}; {_way_out(error.name or '')}")
    except StoppedError as error:
        log.error(f"{error}; run the same again to go on")
        return StoppedError.STATUS
    except KeyboardInterrupt:
        log.interrupted()
        return INTERRUPTED
    except Exception as error:
        message = shortage(error)
        if not message:
            raise
        log.error(message)
    return 1


def end_on_sigterm() -> None:
    """Raise StoppedError at SIGTERM, with which a cluster stops a pod.

    Runs in MLflow end as KILLED, and the exit status says that a retry helps.
    """
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise StoppedError("stopped by SIGTERM")


def run_as_process(main: Callable[[], int]) -> NoReturn:
    """Run a command line as a process of its own; the traceback of a bug holds no password."""
    sys.excepthook = log.exception
    sys.exit(main())


def _way_out(module: str) -> str:
    if module.split(".")[0] in ("kfp", "kfp_server_api", "kubernetes"):
        return "install the extra kfp: pip install 'refsr[kfp]'"
    if module.split(".")[0] in ("onnx", "onnxruntime"):
        return "install the extra onnx: pip install 'refsr[onnx]'"
    if module.split(".")[0] in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
        return "install the extra serve: pip install 'refsr[serve]'"
    return "run `make setup` once, then `source .venv/bin/activate`"
