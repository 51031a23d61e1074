"""What a tar holds: its headers are walked, nothing is unpacked, and no member is believed.

A member that is no plain file, or whose name leads out of the archive, is told of with a `fault` and never followed.
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
_ROOM = 64 * 2**20  # bytes a gzip may expand to whatever its size,
_MOST_EXPANDED = 60  # and how many times its size beyond that; JPEGs hardly shrink
_EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}
_PASSED_OVER = {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}
_DAMAGE: Any = (OSError, EOFError, isal_zlib.error)
_FETCH = "fetch the archive anew and compare its size and checksum with the original's"


class Member(NamedTuple):
    """An entry: its name cleaned of "./", the bytes that follow its header, and why it is left out, if it is."""

    name: str
    start: int  # of its bytes, in the unpacked archive
    size: int
    is_folder: bool = False
    fault: str = ""  # one of manifest.REASONS
    detail: str = ""


def walk(file: io.BufferedIOBase, place: str, length: int | None = None) -> Iterator[Member]:
    """The members of a tar in order; `file` may be read between them, up to the end of the member told last.

    `length` is the size of the archive where `file` can be sought in. Raises RefsrError naming the byte where the
    archive is cut or damaged.
    """
    at, name = 0, ""
    size_told: int | None = None
    while True:
        header = _exactly(file, BLOCK, at, place)
        if not any(header):
            return
        info = _parse(header, at, place)
        at += BLOCK
        if info.type in _EXTENDED | _PASSED_OVER:
            if info.size > _MAX_EXTENDED:
                raise RefsrError(f"{place}: byte {at}: an extended header of {info.size} bytes is no tar's; {_FETCH}")
            data = _exactly(file, _padded(info.size), at, place)[: info.size]
            at += _padded(info.size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type in _EXTENDED:
                told = _pax(data)
                name = told.get("path", name)
                size_told = int(told["size"][:20]) if told.get("size", "")[:20].isdecimal() else size_told
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            at += _skip_sparse_map(file, header, at, place)
        holds_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        size = (info.size if size_told is None else size_told) if holds_data else 0
        end = at + _padded(size)
        if size < 0 or (length is not None and at + size > length):
            raise _cut(place, length or at)
        yield _member(info, name or info.name, at, size)
        _forward(file, end, place, length)
        at, name, size_told = end, "", None


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
        return Member(shown, start, size, fault="unsafe_name", detail="its name leads out of the archive")
    if shown != name or not clean.isprintable():
        return Member(ascii(clean)[1:-1], start, size, fault="unsafe_name", detail="its name is not printable UTF-8")
    if info.isdir():
        return Member(clean, start, 0, is_folder=True)
    if not info.isreg() or info.type == tarfile.GNUTYPE_SPARSE:
        return Member(clean, start, size, fault="no_plain_file", detail=_kind(info))
    return Member(clean, start, size)


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        target = info.linkname.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return f"a link to {target!a}, not followed"
    return {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe"}.get(
        info.type, f"a member of type {info.type!r}"
    )


def _pax(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header, as far as they can be read."""
    records, at = {}, 0
    while at < len(data):
        length, _, _ = data[at : at + 20].partition(b" ")
        if not length.isdigit() or int(length) <= len(length) + 1:
            break
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(length)
    return records


def _skip_sparse_map(file: io.BufferedIOBase, header: bytes, at: int, place: str) -> int:
    """Read over the further blocks of an old GNU sparse map; their number of bytes."""
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
    """Go on to `end`, by seeking where the length of the archive is known."""
    if length is not None:
        file.seek(end)
        return
    at = file.tell()
    while at < end:
        data = file.read(min(2**20, end - at))
        if not data:
            raise _cut(place, at)
        at += len(data)


def _cut(place: str, at: int) -> RefsrError:
    return RefsrError(f"{place}: cut at byte {at} of the tar in it, before its end mark; {_FETCH}")


class Gunzip(io.BufferedIOBase):
    """A gzip as it is unpacked, read once from front to end; its checksum is held, and so is how far it expands.

    Raises RefsrError naming the byte of the compressed file where it is cut or damaged.
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
            raise RefsrError(
                f"{self._place}: cut or damaged near byte {self._packed.tell()}: {why}; {_FETCH}"
            ) from error
        self._at += len(data)
        if self._at > _ROOM + _MOST_EXPANDED * self._packed.tell():
            raise RefsrError(
                f"{self._place}: expands more than {_MOST_EXPANDED}-fold by byte {self._packed.tell()}, as no archive "
                "of photos does; it is not read on"
            )
        return data
