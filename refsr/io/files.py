"""Read bytes at a place, a local file or an S3 object (`s3://bucket/key`)."""

import hashlib
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

MOST_HELD = 256 * 2**20  # bytes of files in memory at a time
_REMOTE_BUFFER, _LOCAL_BUFFER = 8 * 2**20, 2**18
_GAP = 2**18  # bytes read and dropped rather than sending another request
_MOST = 16 * 2**20  # bytes per request
_CONNECTIONS = 8  # per process: the first byte of an S3 server takes tens of milliseconds


class Extent(NamedTuple):
    """Some bytes of a file or object: all that is needed to read an image."""

    place: str
    start: int
    length: int


def file_hash(path: Path) -> str:
    """The sha256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_remote(place: str) -> bool:
    """Whether a place is an S3 URI."""
    return place.startswith("s3://")


def size_of(place: str) -> int:
    """The bytes of a file or object. Raises RefsrError where it is missing or cannot be read."""
    if is_remote(place):
        from refsr.io import s3

        return s3.head(place).size
    try:
        return Path(place).stat().st_size
    except OSError as error:
        raise RefsrError(f"{place}: cannot be read: {error.strerror}") from error


def read(extent: Extent) -> bytes:
    """The bytes of an extent. Raises RefsrError where it cannot be read in full."""
    if is_remote(extent.place):
        from refsr.io import s3

        return s3.read_range(*extent)
    return next(read_each(extent.place, [(extent.start, extent.length)]))


def read_each(place: str, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of each span (start, length) of a local file, which is opened once.

    Raises:
        RefsrError: The file cannot be read, or is shorter than a span.
    """
    try:
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123 - thrice as quick as Path.open
            size = os.fstat(file.fileno()).st_size
            for start, length in spans:
                # pread allocates `length` bytes before it reads: compare it with the file first.
                in_file = start >= 0 and (length == 0 or 0 < length <= size - start)
                data = os.pread(file.fileno(), length, start) if in_file else b""
                if not in_file or len(data) < length:
                    raise RefsrError(f"{place}: shorter than when it was listed; run again")
                yield data
    except OSError as error:
        raise RefsrError(
            f"{place}: cannot be read: {error.strerror}; run again: extracted features are kept"
        ) from error


def portions(extents: Sequence[Extent]) -> Iterator[slice]:
    """Slices of the extents, each of at most MOST_HELD bytes, or of a single larger extent."""
    start, held = 0, 0
    for at, extent in enumerate(extents):
        if at > start and held + extent.length > MOST_HELD:
            yield slice(start, at)
            start, held = at, 0
        held += extent.length
    if start < len(extents):
        yield slice(start, len(extents))


def read_all(extents: Sequence[Extent]) -> list[bytes]:
    """The bytes of each extent, all in memory: see `portions`.

    S3 objects are read several at a time, and neighbours in one request.

    Raises:
        RefsrError: An extent is longer than MAX_FILE, in which case nothing is read; or it cannot
            be read.
    """
    for place, _, length in extents:
        if length > MAX_FILE:
            raise RefsrError(
                f"{place}: {length} bytes; files of more than {MAX_FILE} are not read; remove it",
            )
    if any(is_remote(extent.place) for extent in extents):
        return _read_remote(extents)
    result: list[bytes] = []
    for place, run in groupby(extents, attrgetter("place")):
        result += read_each(place, ((start, size) for _, start, size in run))
    return result


def _read_remote(extents: Sequence[Extent]) -> list[bytes]:
    parts: dict[Extent, bytes] = {}
    spans = _spans(extents)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        replies = pool.map(read, [span for span, _ in spans])
        for (span, members), data in zip(spans, replies, strict=True):
            for member in members:
                start = member.start - span.start
                parts[member] = data[start : start + member.length]
    return [parts[extent] for extent in extents]


def _spans(extents: Sequence[Extent]) -> list[tuple[Extent, list[Extent]]]:
    """Neighbouring extents joined: (the extent to request, the extents in it)."""
    spans: list[tuple[Extent, list[Extent]]] = []
    for extent in sorted(set(extents)):
        end = extent.start + extent.length
        if spans:
            last, members = spans[-1]
            gap = extent.start - (last.start + last.length)
            length = end - last.start
            if extent.place == last.place and gap <= _GAP and length <= _MOST:
                joined = last._replace(length=max(last.length, length))
                spans[-1] = joined, [*members, extent]
                continue
        spans.append((extent, [extent]))
    return spans


def open_extent(extent: Extent) -> io.BufferedReader:
    """An extent as a seekable file."""
    buffer = _REMOTE_BUFFER if is_remote(extent.place) else _LOCAL_BUFFER
    return io.BufferedReader(_Window(extent), buffer)


class _Window(io.RawIOBase):
    """The raw file of `open_extent`: each read is one range."""

    def __init__(self, extent: Extent) -> None:
        self._extent, self._at = extent, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._extent.length}
        self._at = offset + origins[whence]
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._extent.length - self._at))
        start = self._extent.start + self._at
        buffer[:count] = read(Extent(self._extent.place, start, count))
        self._at += count
        return count
