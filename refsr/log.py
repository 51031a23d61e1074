"""Log lines on stderr: time, level, stage, message; as text, or as one JSON object per line.

A process that owns its terminal or pod calls `set_up` once. In a program that only imports refsr
nothing is set up, and its own logging decides.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from refsr.redaction import hide

Verbosity = Literal["quiet", "normal", "verbose"]
PACKAGES = ("refsr", "components", "pipelines", "tools")
JSON_VARIABLE = "REFSR_LOG_JSON"  # "1" and "0"; else JSON is for pods
_POD = "KUBERNETES_SERVICE_HOST"  # Kubernetes sets it in every pod
_LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
_PREFIX = "refsr: error: "
_stage = "refsr"
_handler: "_Handler | None" = None


def set_up(verbosity: Verbosity = "normal", as_json: bool | None = None) -> None:
    """Send log lines of this project to stderr.

    quiet: warnings and errors; verbose: all, and what libraries warn of. `as_json` None: as the
    variable REFSR_LOG_JSON says, else JSON in a pod and text elsewhere. A second call replaces the
    first. Of the processes of a distributed training only the first is verbose or normal.
    """
    global _handler
    if os.environ.get("RANK", "0") != "0":
        verbosity = "quiet"
    if as_json is None:
        as_json = json_by_default()
    old, _handler = _handler, _Handler(as_json, verbosity == "verbose")
    for name in PACKAGES:
        logger = logging.getLogger(name)
        if old:
            logger.removeHandler(old)
        logger.addHandler(_handler)
        logger.setLevel(_LEVELS[verbosity])
        logger.propagate = False
    logging.captureWarnings(True)
    adopt("py.warnings")


def json_by_default() -> bool:
    """Whether lines are JSON where no option says so."""
    given = os.environ.get(JSON_VARIABLE)
    return _POD in os.environ if given not in ("0", "1") else given == "1"


def adopt(*names: str) -> None:
    """Let warnings of these libraries through with `-v` alone; what they set up themselves goes."""
    for name in names:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING if is_verbose() else logging.ERROR)
        if _handler is not None:
            logger.handlers = [_handler]
            logger.propagate = False


def is_json() -> bool:
    """Whether lines are JSON."""
    return _handler is not None and _handler.as_json


def is_verbose() -> bool:
    """Whether libraries may warn."""
    return _handler is not None and _handler.verbose


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Lines within belong to this stage, whatever thread writes them."""
    global _stage
    before, _stage = _stage, name
    try:
        yield
    finally:
        _stage = before


def error(message: str) -> None:
    """The one line that a command ends with where its user can mend something."""
    if is_json():
        logging.getLogger(__name__).error("%s", message)
    else:
        sys.stderr.write(f"{_PREFIX}{hide(message)}\n")


def exception(
    kind: type[BaseException], raised: BaseException, trace: TracebackType | None
) -> None:
    """A `sys.excepthook` for bugs: the traceback, without passwords."""
    text = "".join(traceback.format_exception(kind, raised, trace))
    if is_json():
        logging.getLogger(__name__).critical("%s", text)
    else:
        sys.stderr.write(hide(text))


def interrupted() -> None:
    """The line that a command ends with which was stopped by its user or by the cluster."""
    if is_json():
        logging.getLogger(__name__).warning("interrupted")
    else:
        sys.stderr.write("refsr: interrupted\n")


class _Handler(logging.Handler):
    """Writes to what is stderr now, above a progress bar where one is drawn."""

    def __init__(self, as_json: bool, verbose: bool) -> None:
        super().__init__()
        self.as_json, self.verbose = as_json, verbose
        self.setFormatter(_JsonFormatter() if as_json else _TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. A reader that is gone is no fault of the work."""
        try:
            line = self.format(record)
            if "tqdm" in sys.modules and sys.stderr.isatty():
                sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
                return
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except OSError:
            pass
        except Exception:
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return f"{clock} {record.levelname:<7} {_stage}: {_message(record)}{hide(fields)}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return json.dumps(
            {
                "time": moment.isoformat(timespec="milliseconds"),
                "level": record.levelname,
                "stage": _stage,
                "logger": record.name,
                "message": _message(record),
                **_fields(record),
            },
            ensure_ascii=False,
        )


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Values that a line has beside its message: `logger.info(..., extra={"fields": {...}})`."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0]:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    return hide(text)
