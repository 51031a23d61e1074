"""Errors that say one thing in many ways: there is no memory left, or no room on the disk.

PyTorch, safetensors, NumPy, OpenCV and SQLite have no common exception for either; they are known by type and text.
"""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|not enough memory: you tried|CUDA out of memory"
    r"|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc|Insufficient memory"
    r"|can't start new thread|could not create a (?:primitive|memory object)"
)
_NO_ROOM = re.compile(
    r"inline_container\.cc.*unexpected pos|PytorchStreamWriter failed|basic_ios::clear: iostream error"
    r"|os error (?:27|28|122)\b|errno (?:27|28|122)\b|\d+ requested and \d+ written"
    r"|database or disk is full|disk I/O error|No space left on device|File too large|Disk quota exceeded",
    re.DOTALL | re.IGNORECASE,
)
_ASKED = re.compile(r"(?:tried to allocate|Unable to allocate|Failed to allocate) ([0-9.]+) ?(bytes|KiB|MiB|GiB|TiB)?")
_TIMES = 20  # so many times its own size a file may ask for when it is read, compressed or not
_UNITS = {"bytes": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a want of memory, of the machine or of a GPU."""
    return any(_is_memory(each) for each in _chain(error))


def asked_bytes(error: BaseException) -> int | None:
    """The bytes that could not be had, where the error tells."""
    for each in _chain(error):
        if found := _ASKED.search(str(each)):
            return int(float(found[1]) * 2 ** _UNITS[found[2] or "bytes"])
    return None


def lacks_memory_for(error: BaseException, path: Path) -> bool:
    """Whether an error while a file was read is a want of memory, and not damage that makes it ask for too much."""
    asked = asked_bytes(error)
    return out_of_memory(error) and (asked is None or asked <= _TIMES * path.stat().st_size)


def disk_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a disk or quota that is full, or a file that grew too large."""
    return any(_is_room(each) for each in _chain(error))


def shortage(error: BaseException) -> str:
    """One line for a want of memory or disk outside a stage; "" for every other error."""
    told = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    if out_of_memory(error):
        return f"there is not enough memory ({told}); give smaller images, or run with more memory"
    if disk_full(error):
        return f"the disk is full ({told}); make room and run the command again"
    return ""


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return _NO_MEMORY.search(str(error)) is not None


def _is_room(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return _NO_ROOM.search(str(error)) is not None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
