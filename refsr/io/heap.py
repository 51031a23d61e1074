"""Tune glibc's heap, so that memory freed by arrays returns to the system.

Both functions do nothing where the C library lacks the call. docs/decisions/0010-heap-tuning.md
has the figures with and without them; `python benchmarks/scale.py --heap` measures again.
"""

import ctypes

# Option numbers in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def trim() -> None:
    """Return free memory to the system that lies between blocks in use."""
    if malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        malloc_trim(0)


def map_arrays(smallest: int) -> None:
    """Allocate arrays of at least `smallest` bytes by mmap, so that freeing one returns its memory.

    Arrays as long as the set then leave no gaps in the heap. Arrays that are allocated again and
    again become slower, since every page of a new mapping is new.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, smallest)
        mallopt(_M_TRIM_THRESHOLD, 2 * smallest)  # glibc's own ratio
        mallopt(_M_ARENA_MAX, 1)  # one heap for all threads
