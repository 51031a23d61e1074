"""Bytes at a place, whether a local file or an S3 object (`s3://bucket/key`): sizes, ranges, and files opened on it."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from refsr.errors import RefsrError
from refsr.io.tar import MAX_FILE

MOST_HELD = 256 * 2**20  # bytes of files that are held in memory at a time
_REMOTE_BUFFER, _LOCAL_BUFFER = 8 * 2**20, 2**18
_GAP = 2**18  # bytes that are read over rather than asking once more
_MOST = 16 * 2**20  # bytes asked for at once
_CONNECTIONS = 8  # of a process at a time: an S3 server's first byte takes tens of milliseconds


class Extent(NamedTuple):
    """Some bytes of a file or object: all that is needed to read an image, wherever it lies."""

    place: str
    start: int
    length: int


def is_remote(place: str) -> bool:
    """Whether it is an S3 URI."""
    return place.startswith("s3://")


def size_of(place: str) -> int:
    """Bytes at a place. Raises RefsrError where there is nothing, or it may not be read."""
    if is_remote(place):
        from refsr.io import s3

        return s3.head(place).size
    try:
        return Path(place).stat().st_size
    except OSError as error:
        raise RefsrError(f"{place}: cannot be read: {error.strerror}") from error


def read(extent: Extent) -> bytes:
    """The bytes of an extent, all of them."""
    if is_remote(extent.place):
        from refsr.io import s3

        return s3.read_range(*extent)
    return next(read_each(extent.place, [(extent.start, extent.length)]))


def read_each(place: str, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of each span (start, length) of a local file, which is opened once."""
    try:
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123 - thrice as quick as Path.open
            size = os.fstat(file.fileno()).st_size
            for start, length in spans:
                # pread sets `length` bytes aside before it reads any: it is held against the file first
                in_file = start >= 0 and (length == 0 or 0 < length <= size - start)
                data = os.pread(file.fileno(), length, start) if in_file else b""
                if not in_file or len(data) < length:
                    raise RefsrError(f"{place}: shorter than it was when it was listed; run again")
                yield data
    except OSError as error:
        raise RefsrError(f"{place}: cannot be read: {error.strerror}; run again: what was measured is kept") from error


def portions(extents: Sequence[Extent]) -> Iterator[slice]:
    """These in order, so many at a time that their bytes may be held: MOST_HELD, or one of more."""
    start, held = 0, 0
    for at, extent in enumerate(extents):
        if at > start and held + extent.length > MOST_HELD:
            yield slice(start, at)
            start, held = at, 0
        held += extent.length
    if start < len(extents):
        yield slice(start, len(extents))


def read_all(extents: Sequence[Extent]) -> list[bytes]:
    """The bytes of each extent; of S3 objects several at a time, and neighbours in one request.

    Raises RefsrError, before anything is read, where one is longer than an image can be. All are held
    in memory: see `portions`.
    """
    for place, _, length in extents:
        if length > MAX_FILE:
            raise RefsrError(f"{place}: {length} bytes; more than {MAX_FILE} are not read at once")
    if not any(is_remote(extent.place) for extent in extents):
        runs = groupby(extents, attrgetter("place"))
        return [data for place, run in runs for data in read_each(place, ((start, size) for _, start, size in run))]
    found: dict[Extent, bytes] = {}
    spans = _spans(extents)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for (span, members), data in zip(spans, pool.map(read, [span for span, _ in spans]), strict=True):
            for member in members:
                start = member.start - span.start
                found[member] = data[start : start + member.length]
    return [found[extent] for extent in extents]


def _spans(extents: Sequence[Extent]) -> list[tuple[Extent, list[Extent]]]:
    """Neighbouring extents joined: (what to ask for, what lies in it)."""
    spans: list[tuple[Extent, list[Extent]]] = []
    for extent in sorted(set(extents)):
        end = extent.start + extent.length
        if spans:
            last, members = spans[-1]
            near = extent.place == last.place and extent.start - (last.start + last.length) <= _GAP
            if near and end - last.start <= _MOST:
                spans[-1] = (last._replace(length=max(last.length, end - last.start)), [*members, extent])
                continue
        spans.append((extent, [extent]))
    return spans


def open_extent(extent: Extent) -> io.BufferedReader:
    """An extent as a file that can be read and sought in."""
    return io.BufferedReader(_Window(extent), _REMOTE_BUFFER if is_remote(extent.place) else _LOCAL_BUFFER)


class _Window(io.RawIOBase):
    """The raw file beneath `open_extent`: each read is one range."""

    def __init__(self, extent: Extent) -> None:
        self._extent, self._at = extent, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._extent.length}[whence]
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._extent.length - self._at))
        buffer[:count] = read(Extent(self._extent.place, self._extent.start + self._at, count))
        self._at += count
        return count
