"""The parameters that a search varies: `KEY=VALUES`, and a params file with other values."""

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from refsr.errors import RefsrError
from refsr.io.paths import file_errors_as_messages
from refsr.strict_yaml import read_yaml

_KEY = r"[a-z_]+(?:\.[a-z0-9_]+)+"
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?", re.ASCII | re.IGNORECASE)


class Varied(NamedTuple):
    """A parameter, and its feasible space as Katib names it."""

    key: str  # in the params file: train_refsr.learning_rate
    kind: str  # int, double or categorical
    space: dict[str, Any]

    @property
    def name(self) -> str:
        """As Katib's pages show it and its templates refer to it."""
        return re.sub(r"[._]", "-", self.key)

    @property
    def samples(self) -> list[str]:
        """Values that must be valid: those of a list, the ends of a range."""
        values: list[str] = self.space.get("list") or [self.space["min"], self.space["max"]]
        return values


def varied(text: str) -> Varied:
    """`KEY=A,B,C` or `KEY=LEAST..MOST[:log]`; a type of argparse."""
    key, equals, values = text.partition("=")
    if not equals or not values or not re.fullmatch(_KEY, key, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected KEY=A,B,C or KEY=LEAST..MOST, with KEY as "
            "train_refsr.learning_rate"
        )
    match = _RANGE.fullmatch(values)
    if not match:
        return Varied(key, "categorical", {"list": _distinct(text, values.split(","))})
    least, most, log = match.groups()
    if not float(least) < float(most) or (log and float(least) <= 0):
        raise argparse.ArgumentTypeError(
            f"{text!r}: the range is empty, or a log range not above 0"
        )
    whole = all(re.fullmatch(r"[+-]?\d+", each) for each in (least, most))
    space = {"min": least, "max": most} | ({"distribution": "logUniform"} if log else {})
    return Varied(key, "int" if whole else "double", space)


def _distinct(text: str, values: list[str]) -> list[str]:
    if "" in values or len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"{text!r}: a value is empty, or is there twice")
    return values


def require_once(option: str, keys: list[str], way_out: str) -> None:
    """Raises RefsrError if an option names a key twice."""
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise RefsrError(f"{option} {repeated[0]}: appears twice; {way_out}")


def assignment(text: str) -> tuple[str, str]:
    """`KEY=VALUE`; a type of argparse."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(_KEY, key, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key, value


@contextmanager
def named_as(params: Path, folder: Path) -> Iterator[None]:
    """Let messages about a changed copy in `folder` name the params file itself."""
    try:
        yield
    except RefsrError as error:
        raise RefsrError(str(error).replace(str(folder / params.name), str(params))) from error


def changed(params: Path, values: Mapping[str, str], folder: Path) -> Path:
    """A copy of a params file in `folder` with other values, which are YAML.

    Raises:
        RefsrError: The file cannot be read, or a key leads through what is no section.
    """
    with file_errors_as_messages():
        document = read_yaml(params) or {}
    for key, text in values.items():
        *sections, last = key.split(".")
        place = document
        for name in sections:
            place[name] = place.get(name) or {}
            place = place[name]
            if not isinstance(place, dict):
                raise RefsrError(f"{params}: {key}: {name} is no section")
        place[last] = _value(key, text)
    copy = folder / params.name
    copy.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return copy


def _value(key: str, text: str) -> Any:
    if re.fullmatch(_NUMBER, text, re.ASCII | re.IGNORECASE) and re.search(r"[.e]", text, re.I):
        return float(text)  # `1e-3` is a text to YAML
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RefsrError(f"{key}={text}: the value is not YAML") from error
