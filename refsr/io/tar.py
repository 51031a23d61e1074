"""Read the headers of a tar; nothing is unpacked, and no header is trusted.

A member that is no plain file, or whose name leads out of the archive, has a `fault` and is never
followed.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from isal import igzip, isal_zlib

from refsr.errors import RefsrError

BLOCK = 512
MAX_FILE = 2**26  # bytes of an image; VGGFace2's largest have some hundred thousand
_MAX_EXTENDED = 2**20  # bytes of an extended header: names of thousands of characters
# A gzip may expand to _ROOM bytes, and _MOST_EXPANDED times its size beyond; JPEGs hardly shrink.
_ROOM = 64 * 2**20
_MOST_EXPANDED = 60
_PIECE = 2**20  # bytes read at a time to skip some
_EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}
_SKIPPED = {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}
_DAMAGE: Any = (OSError, EOFError, isal_zlib.error)
_FETCH = "download the archive again and compare its size and checksum with the original's"


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: Without "./".
        start: Of its bytes, in the unpacked archive.
        size: Bytes.
        is_folder: Whether it is a folder.
        fault: One of schema.REASONS if it is left out, else "".
        detail: The fault in words.
    """

    name: str
    start: int
    size: int
    is_folder: bool = False
    fault: str = ""
    detail: str = ""


class _Extension(NamedTuple):
    """Name and size from extended headers, which replace those of the next header."""

    name: str = ""
    size: int | None = None


def walk(file: io.BufferedIOBase, place: str, length: int | None = None) -> Iterator[Member]:
    """The members of a tar in order.

    Between two members, `file` may be read up to the end of the former.

    Args:
        file: The unpacked tar, at its start.
        place: Its name, for messages.
        length: Its size, if `file` is seekable.

    Raises:
        RefsrError: The archive is cut or damaged; the message names the byte.
    """
    at, extension = 0, _Extension()
    while True:
        header = _exactly(file, BLOCK, at, place)
        if not any(header):
            return
        info = _parse(header, at, place)
        at += BLOCK
        if info.type in _EXTENDED | _SKIPPED:
            extension = _extended(file, info, at, place, extension)
            at += _padded(info.size)
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            at += _skip_sparse_map(file, header, at, place)
        size = _size(info, extension)
        if size < 0 or (length is not None and at + size > length):
            raise _cut(place, length or at)
        yield _member(info, extension.name or info.name, at, size)
        end = at + _padded(size)
        _forward(file, end, place, length)
        at, extension = end, _Extension()


def _extended(
    file: io.BufferedIOBase,
    info: tarfile.TarInfo,
    at: int,
    place: str,
    known: _Extension,
) -> _Extension:
    """Read an extended header at byte `at`; values it lacks are those `known`."""
    if info.size > _MAX_EXTENDED:
        raise RefsrError(
            f"{place}: byte {at}: an extended header of {info.size} bytes is invalid; {_FETCH}",
        )
    data = _exactly(file, _padded(info.size), at, place)[: info.size]
    if info.type == tarfile.GNUTYPE_LONGNAME:
        name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return known._replace(name=name)
    if info.type not in _EXTENDED:
        return known
    records = _pax(data)
    size = records.get("size", "")[:20]
    return _Extension(
        records.get("path", known.name),
        int(size) if size.isdecimal() else known.size,
    )


def _size(info: tarfile.TarInfo, extension: _Extension) -> int:
    """The bytes after a member's header."""
    if not info.isreg() and info.type in tarfile.SUPPORTED_TYPES:
        return 0
    return info.size if extension.size is None else extension.size


def _parse(header: bytes, at: int, place: str) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise RefsrError(f"{place}: byte {at}: no tar header ({error}); {_FETCH}") from error
    if info.size < 0:
        raise RefsrError(f"{place}: byte {at}: a member of {info.size} bytes; {_FETCH}")
    return info


def _member(info: tarfile.TarInfo, name: str, start: int, size: int) -> Member:
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    parts = [part for part in shown.split("/") if part not in ("", ".")]
    clean = "/".join(parts)
    if name.startswith("/") or ".." in parts:
        detail = "its name leads out of the archive"
        return Member(shown, start, size, False, "unsafe_name", detail)
    if shown != name or not clean.isprintable():
        detail = "its name is not printable UTF-8"
        return Member(ascii(clean)[1:-1], start, size, False, "unsafe_name", detail)
    if info.isdir():
        return Member(clean, start, 0, is_folder=True)
    if not info.isreg() or info.type == tarfile.GNUTYPE_SPARSE:
        return Member(clean, start, size, False, "no_plain_file", _kind(info))
    return Member(clean, start, size)


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        name = info.linkname.encode("utf-8", "surrogateescape")
        target = name.decode("utf-8", "backslashreplace")
        return f"a link to {target!a}, not followed"
    if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        return "a device"
    if info.type == tarfile.FIFOTYPE:
        return "a pipe"
    return f"a member of type {info.type!r}"


def _pax(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header, up to the first invalid one."""
    records, at = {}, 0
    while at < len(data):
        length, _, _ = data[at : at + 20].partition(b" ")
        if not length.isdigit() or int(length) <= len(length) + 1:
            break
        record = data[at + len(length) + 1 : at + int(length) - 1]
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(length)
    return records


def _skip_sparse_map(file: io.BufferedIOBase, header: bytes, at: int, place: str) -> int:
    """Skip the further blocks of an old GNU sparse map; returns their bytes."""
    read, more = 0, header[482]
    while more:
        more = _exactly(file, BLOCK, at + read, place)[504]
        read += BLOCK
    return read


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _exactly(file: io.BufferedIOBase, count: int, at: int, place: str) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _cut(place, at + len(data))
    return data


def _forward(file: io.BufferedIOBase, end: int, place: str, length: int | None) -> None:
    """Move on to `end`, by seeking where the length of the archive is known."""
    if length is not None:
        file.seek(end)
        return
    at = file.tell()
    while at < end:
        data = file.read(min(_PIECE, end - at))
        if not data:
            raise _cut(place, at)
        at += len(data)


def _cut(place: str, at: int) -> RefsrError:
    return RefsrError(
        f"{place}: cut at byte {at} of the unpacked tar, before its end mark; {_FETCH}",
    )


class Gunzip(io.BufferedIOBase):
    """An unpacked gzip, read once from start to end; checksum and expansion are checked.

    Reading raises RefsrError where it is cut or damaged, or expands too far; the message names the
    byte of the compressed file.
    """

    def __init__(self, file: io.BufferedReader, place: str) -> None:
        self._packed, self._place, self._at = file, place, 0
        self._file = igzip.open(file, "rb")

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            data: bytes = self._file.read(-1 if size is None else size)
        except _DAMAGE as error:
            why = f"{str(error) or 'damaged'}, {self._at} bytes unpacked"
            at = self._packed.tell()
            raise RefsrError(
                f"{self._place}: cut or damaged near byte {at}: {why}; {_FETCH}",
            ) from error
        self._at += len(data)
        if self._at > _ROOM + _MOST_EXPANDED * self._packed.tell():
            raise RefsrError(
                f"{self._place}: expands more than {_MOST_EXPANDED}-fold by byte "
                f"{self._packed.tell()}, which no archive of photos does; use another archive"
            )
        return data
