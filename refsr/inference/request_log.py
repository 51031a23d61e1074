"""Read the JSON log lines of the service: what the faces of its requests looked like."""

import gzip
import json
import math
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.inference.image_statistics import STATISTICS

STDIN = Path("-")
_LONGEST = 2**20  # bytes of a line; one of the service has some hundred
_GZIP = b"\x1f\x8b"
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass
class RequestLog:
    """What the lines say.

    Attributes:
        lines: That were read, empty ones left out.
        bad: That are no JSON object, or hold statistics that are no numbers.
        requests: Whose lines have statistics.
        values: By name of a statistic the numbers of all faces.
        seconds: Of each of those requests.
        fits: How well each reference fitted, where the model said so.
        statuses: How requests were answered.
        versions: Of the model, by requests.
        first, last: Times of the first and the last request.
    """

    lines: int = 0
    bad: int = 0
    requests: int = 0
    values: dict[str, "array[float]"] = field(
        default_factory=lambda: {name: array("d") for name in STATISTICS}
    )
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    fits: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    first: str = ""
    last: str = ""


def read(logs: Iterable[Path]) -> RequestLog:
    """The log of these files; a folder is all files in it, `-` is stdin, .gz is unpacked.

    What cannot be understood is counted, and the rest is read.
    """
    log = RequestLog()
    for path in _files(logs):
        try:
            for line in _lines(path):
                log.lines += 1
                _add(log, line)
        except _UNREADABLE:  # the end of a file that is still written, or damaged
            log.bad += 1
    return log


def require_statistics(log: RequestLog) -> None:
    """Raises RefsrError where no line has statistics, and says why that may be."""
    if log.requests:
        return
    counted = f"{log.lines} log lines, {log.bad} of them are no JSON"
    if sum(log.statuses.values()):
        raise RefsrError(f"{counted}, and no request has statistics: an older refsr wrote them")
    raise RefsrError(
        f"{counted}, and none is of a request: pass what `refsr --log-json serve` writes to stderr"
    )


def _files(logs: Iterable[Path]) -> Iterator[Path]:
    for path in logs:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        elif path != STDIN and not path.exists():
            raise RefsrError(f"{path}: no such file or folder; pass logs of the service")
        else:
            yield path


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not empty; one that is too long is cut."""
    with nullcontext(sys.stdin.buffer) if path == STDIN else _open(path) as file:
        while line := file.readline(_LONGEST):
            yield from [line] if line.strip() else []
            while len(line) == _LONGEST and not line.endswith(b"\n"):
                line = file.readline(_LONGEST)


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if packed else path.open("rb")


def _add(log: RequestLog, line: bytes) -> None:
    """Take in a line; one that is not understood changes nothing but the count."""
    try:
        # `kubectl logs --prefix --timestamps` puts words before the object.
        record = json.loads(line[line.index(b"{") :])
        faces = [_numbers(each) for each in record.get("statistics") or ()]
        fits = [float(fit) for face in record.get("fits") or () for fit in face if fit is not None]
        seconds = float(record.get("seconds", math.nan))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        log.bad += 1
        return
    if "status" not in record or not str(record.get("path", "")).startswith("/v1/"):
        return  # a line of something else
    log.statuses[str(record["status"])] += 1
    if not faces:
        return
    log.requests += 1
    for face in faces:
        for name, value in face.items():
            log.values[name].append(value)
    log.seconds.append(seconds)
    log.fits.extend(fits)
    log.versions[str(record.get("version", ""))] += 1
    moment = str(record.get("time", ""))
    log.first, log.last = log.first or moment, moment or log.last


def _numbers(face: Any) -> dict[str, float]:
    """Of every statistic the number. Raises an error where one is missing or none."""
    numbers = {name: float(face[name]) for name in STATISTICS}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError("not finite")
    return numbers
