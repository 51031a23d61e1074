"""Shards: files that hold the bytes of an archive's members, one after another."""

import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from refsr.io.own_files import Checksum

SHARD = 2**30  # bytes from which on the next shard begins
PIECE = 2**20  # bytes read at a time


def shard_path(folder: Path, shard: int) -> str:
    """The path of a shard."""
    return str(folder / f"{shard:05d}.bin")


def pieces(file: io.BufferedIOBase, size: int) -> Iterator[bytes]:
    """The next `size` bytes in pieces, so that memory does not depend on a header's claim."""
    while size and (data := file.read(min(PIECE, size))):
        size -= len(data)
        yield data


class Shards:
    """Appends bytes to the shards of a folder, one after another, and updates `checksums`."""

    def __init__(self, folder: Path, checksums: dict[str, Checksum]) -> None:
        self._checksums = checksums
        self._folder, self._number, self._at = folder, -1, SHARD
        self._files = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def append(self, pieces: Iterable[bytes]) -> tuple[int, int]:
        """The number of the shard that received the bytes, and where in it they start."""
        if self._at >= SHARD:
            self._open_next()
        start = self._at
        name = Path(shard_path(self._folder, self._number)).name
        code = self._checksums.get(name, [0, 0])[1]
        for data in pieces:
            self._at += self._file.write(data)
            code = zlib.crc32(data, code)
        self._checksums[name] = [self._at, code]
        return self._number, start

    def _open_next(self) -> None:
        self._files.close()
        self._number, self._at = self._number + 1, 0
        path = Path(shard_path(self._folder, self._number))
        self._file = self._files.enter_context(path.open("wb"))
