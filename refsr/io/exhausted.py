"""Recognise errors for lack of memory or disk space.

PyTorch, safetensors, NumPy, OpenCV and SQLite have no common exception for either; errors are
recognised by type and text.
"""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    r"|not enough memory: you tried|CUDA out of memory"
    r"|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|std::bad_alloc|Insufficient memory"
    r"|can't start new thread|could not create a (?:primitive|memory object)"
)
_NO_ROOM = re.compile(
    r"inline_container\.cc.*unexpected pos|PytorchStreamWriter failed"
    r"|basic_ios::clear: iostream error|\d+ requested and \d+ written"
    r"|os error (?:27|28|122)\b|errno (?:27|28|122)\b"
    r"|database or disk is full|disk I/O error|No space left on device"
    r"|File too large|Disk quota exceeded",
    re.DOTALL | re.IGNORECASE,
)
_ASKED = re.compile(
    r"(?:tried to allocate|Unable to allocate|Failed to allocate) "
    r"([0-9.]+) ?(bytes|KiB|MiB|GiB|TiB)?"
)
_TIMES = 20  # most memory that reading an undamaged file takes, in multiples of its size
_UNITS = {"bytes": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


class BatchTooLargeError(MemoryError):
    """A batch for which there is not enough memory, and the number of its images for which it is.

    `fits` is 0 where not even one fits.
    """

    def __init__(self, fits: int) -> None:
        super().__init__(f"a batch of {fits} would fit")
        self.fits = fits


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or a cause of it, is lack of memory of the machine or a GPU."""
    return any(_is_memory(each) for each in _chain(error))


def asked_bytes(error: BaseException) -> int | None:
    """The bytes that could not be allocated, where the error says how many."""
    for each in _chain(error):
        if match := _ASKED.search(str(each)):
            return int(float(match[1]) * 2 ** _UNITS[match[2] or "bytes"])
    return None


def lacks_memory_for(error: BaseException, path: Path) -> bool:
    """Whether an error of reading a file is lack of memory, and not damage with a huge size."""
    asked = asked_bytes(error)
    return out_of_memory(error) and (asked is None or asked <= _TIMES * path.stat().st_size)


def disk_full(error: BaseException) -> bool:
    """Whether an error, or a cause of it, is a full disk or quota, or too large a file."""
    return any(_is_room(each) for each in _chain(error))


def shortage(error: BaseException) -> str:
    """A message for lack of memory or disk outside a stage; "" for every other error."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    if out_of_memory(error):
        return f"there is not enough memory ({reason}); use smaller images or more memory"
    if disk_full(error):
        return f"the disk is full ({reason}); make room and run the command again"
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
    """An error, its cause or context, and theirs."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
