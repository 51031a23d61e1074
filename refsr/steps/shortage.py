"""What a stage says where memory or disk runs out: the setting that helps, and its next value."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refsr.config import Section
from refsr.io.exhausted import BatchTooLargeError, asked_bytes

# The settings that decide about memory, most effective first.
# The first that can still be halved is named.
_SETTINGS = {"batch_size": 1, "sample": 1, "max_size": 32, "hr_size": 16}


def memory_message(name: str, params: Section, error: BaseException) -> str:
    """One line: how much could not be had, and what to set."""
    asked = asked_bytes(error)
    missing = f" ({asked / 2**20:,.0f} MiB could not be had)" if asked else ""
    way_out = _way_out(params, name)
    if isinstance(error, BatchTooLargeError):
        way_out = _fitting_batch(params, error.fits)
    return f"{name}: there is not enough memory{missing}; {way_out}"


def _fitting_batch(params: Any, fits: int) -> str:
    """What to do about a batch that is too large, where `fits` images are not."""
    if not fits:
        return "not even 1 image fits: use a smaller `model`, or run with more memory"
    section, now = _section_name(type(params).__name__), params.batch_size
    way_out = f"set {section}.batch_size to {fits}, which fits here (now {now})"
    if now % fits:
        return way_out
    return f"{way_out}, or {section}.accumulate to {now // fits * params.accumulate}"


def _way_out(params: Section, name: str) -> str:
    section = type(params).__name__
    for key, least in _SETTINGS.items():
        value = getattr(params, key, None)
        if isinstance(value, int) and value // 2 >= least:
            place = f"{_section_name(section)}.{key}"
            cores = (
                ", run with fewer cores (taskset)"
                if name in ("curate", "merge", "synthesize")
                else ""
            )
            return f"set {place} to {value // 2} (now {value}){cores}, or run with more memory"
    if hasattr(params, "batch_size"):
        place = f"{_section_name(section)}.batch_size"
        return f"{place} is 1 already: use a smaller `model`, or run with more memory"
    return "run with more memory, or end other programs"


def _section_name(kind: str) -> str:
    """`TrainSisr` -> `train_sisr`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip(
        "_"
    )


def disk_message(name: str, error: BaseException, scratch: Mapping[str, Path]) -> str:
    """One line: what could not be written, and how much room there is."""
    where = getattr(error, "filename", None) or ", ".join(map(str, scratch.values()))
    reason = getattr(error, "strerror", None) or f"could not be written ({_first_line(error)})"
    folder = next(iter(scratch.values())).parent
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"{name}: {where}: {reason} ({free:.0f} MiB free in {folder}); make room and run the stage "
        "again: the unfinished output stands under *.partial and no later stage reads it"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
