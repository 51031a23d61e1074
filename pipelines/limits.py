"""What Kubeflow would misread: refused before anything is sent."""

import argparse
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError

LARGEST = 2**53  # Kubeflow passes numbers as 64-bit floats, which are exact up to here
DAY = 86400  # seconds
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)
_PART = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", re.ASCII)
_EVERY = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \d+(h|m|s)\S*)")


def require_exact(params: Path, values: Mapping[str, Any]) -> None:
    """Raises RefsrError naming the key of a number that JSON or a 64-bit float cannot hold."""
    for key, value in values.items():
        _require_exact(params, key, value)


def _require_exact(params: Path, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        require_exact(params, {f"{key}.{name}": each for name, each in value.items()})
    elif isinstance(value, list):
        require_exact(params, {f"{key}.{number}": each for number, each in enumerate(value)})
    elif isinstance(value, float) and not math.isfinite(value):
        raise RefsrError(f"{params}: {key}: {value} cannot be sent as JSON; set a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise RefsrError(
            f"{params}: {key}: {value} is not exact as the 64-bit float that Kubeflow passes; "
            f"set a number up to {LARGEST}"
        )


def run_id(text: str) -> str:
    """The id of a run, or the URL of its page, which ends in it; a type of argparse."""
    name = text.rstrip("/").rpartition("/")[2]
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a run, and no URL that ends in one")
    return name


def count(text: str) -> int:
    """A whole number above 0; a type of argparse."""
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999")
    return int(text)


def seconds(text: str) -> float:
    """A time to wait; a type of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= DAY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to {DAY}")
    return value


def cron(text: str) -> str:
    """A cron expression as Kubeflow reads it, of six fields; a type of argparse."""
    if _EVERY.fullmatch(text):
        return text
    fields = text.split()
    if len(fields) == 5:
        raise argparse.ArgumentTypeError(
            f'{text!r} has five fields, and seconds come first; pass "0 {text}"'
        )
    if len(fields) != len(FIELDS):
        raise argparse.ArgumentTypeError(
            f"{text!r} has {len(fields)} fields, not six: second, minute, hour, day of month, "
            "month, day of week"
        )
    for field, (name, least, most, words) in zip(fields, FIELDS, strict=True):
        if not all(_is_part(part, least, most, words) for part in field.split(",")):
            raise argparse.ArgumentTypeError(
                f"{text!r}: {name} {field!r} is not *, a number from {least} to {most}, "
                "a range a-b, a step */n or a list of these"
            )
    return text


def _is_part(part: str, least: int, most: int, words: list[str]) -> bool:
    match = _PART.fullmatch(part)
    if not match:
        return False
    bounds = [_number(bound, least, words) for bound in match.groups()[:2] if bound]
    return all(bound is not None and least <= bound <= most for bound in bounds) and (
        len(bounds) < 2 or bounds == sorted(bounds, key=lambda bound: bound or 0)
    )


def _number(bound: str, least: int, words: list[str]) -> int | None:
    if bound.upper() in words:
        return words.index(bound.upper()) + least
    return int(bound) if bound.isdecimal() else None
