"""What Kubeflow would misread: refused before anything is sent."""

import argparse
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.io.servers import is_server, is_url

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
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/([1-9]\d{0,8}))?", re.ASCII)
_NAMED = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)")
# A duration as Go writes one. Kubeflow lengthens what is shorter than a second.
_EVERY = re.compile(r"@every ((?:\d{1,6}(?:\.\d+)?(?:h|m|s))+)", re.ASCII)
_SCP = re.compile(r"[\w.-]+@[\w.-]+:\S")  # git's short form of a URL of SSH
EXPERIMENT, RUN = 128, 255  # bytes and characters of a name that the server's tables hold


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


def require_remote(params: Path, fetch: Mapping[str, Any]) -> None:
    """Raises RefsrError where the section `fetch` names what pods cannot reach."""
    repository, endpoint = fetch["repository"], fetch.get("endpoint")
    if not is_url(repository, "http", "https", "ssh", "git") and not _SCP.match(repository):
        raise RefsrError(
            f"{params}: fetch.repository: {repository} is no URL; pods cannot read folders of "
            "this machine"
        )
    if endpoint and not is_server(endpoint):
        raise RefsrError(
            f"{params}: fetch.endpoint: {endpoint} is not an http(s)://HOST:PORT URL; "
            "set the address of S3 as pods reach it"
        )


def run_id(text: str) -> str:
    """The id of a run, or the URL of its page, which ends in it; a type of argparse."""
    name = text.rstrip("/").rpartition("/")[2]
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a run, and no URL that ends in one")
    return name


def experiment_name(text: str) -> str:
    """The name of an experiment; a type of argparse."""
    return _name(text, len(text.encode(errors="replace")), EXPERIMENT, "bytes")


def run_label(text: str) -> str:
    """The name of a run; a type of argparse."""
    return _name(text, len(text), RUN, "characters")


def _name(text: str, length: int, most: int, unit: str) -> str:
    if not text.strip() or not text.isprintable() or length > most:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is no name; it has 1 to {most} {unit} that can be printed"
        )
    return text


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
    if text.startswith("@"):
        return _descriptor(text)
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
    if not _has_day(fields[3], fields[4]):
        raise argparse.ArgumentTypeError(f"{text!r}: no such month has a day {fields[3]}")
    return text


def _descriptor(text: str) -> str:
    every = _EVERY.fullmatch(text)
    if not _NAMED.fullmatch(text) and not (every and re.search("[1-9]", every[1])):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not @hourly, @daily, @weekly, @monthly, @yearly, or @every with a time "
            "above 0 as 1h30m"
        )
    return text


def _has_day(days: str, months: str) -> bool:
    """Whether a day of the month comes in one of the months, which are valid."""
    earliest = min(_first(day, []) for day in days.split(","))
    if not re.fullmatch(r"\w+(,\w+)*", months, re.ASCII):
        return True  # a range or a step has a month of 31 days
    return any(earliest <= MONTH_DAYS[_first(each, MONTHS) - 1] for each in months.split(","))


def _first(part: str, words: list[str]) -> int:
    """The first day or month of a part; `*` begins at 1."""
    bound = re.split("[-/]", part)[0]
    return _number(bound, 1, words) or 1


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
