"""The metadata files of VGGFace2, read line by line: boxes, landmarks, who is female or male."""

import logging
import math
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from refsr.errors import RefsrError

MAX_METADATA = 2**30  # bytes; the landmarks of the real training set have some 300 million
_MAX_LINE = 2**16
_logger = logging.getLogger(__name__)
_NAME = re.compile(r"n\d{6}/[\w.-]+", re.ASCII)
_IDENTITY = re.compile(r"n\d{6}", re.ASCII)


class Lines(NamedTuple):
    """Lines of a metadata file that stand together."""

    start: int  # byte
    end: int
    before: int  # lines before them


_ALL = Lines(0, MAX_METADATA, 0)


class _Line(NamedTuple):
    number: int  # from 1
    text: str
    start: int  # byte
    end: int


def read_numbers(
    file: BinaryIO, title: str, columns: tuple[str, ...], parts: Sequence[Lines] = (_ALL,)
) -> pd.DataFrame:
    """A box or landmark file, or parts of it, by image name; closes the file.

    A line of it is `"n000001/0001_01",60,60,79,109`. Raises RefsrError naming the file and the line
    that cannot be read, or that tells of an image a second time.
    """
    values = array("d")
    lines: dict[str, int] = {}
    with file:
        for part in parts:
            for line, name, numbers in _numbers(file, title, columns, part):
                _remember(lines, name, line.number, title)
                values.extend(numbers)
    table = (
        np.frombuffer(values, dtype=np.float64).reshape(-1, len(columns))
        if lines
        else np.empty((0, len(columns)))
    )
    return pd.DataFrame(table, index=pd.Index(list(lines), dtype=object), columns=list(columns))


def find_lines(file: BinaryIO, title: str, columns: tuple[str, ...]) -> dict[str, list[Lines]]:
    """Where in a box or landmark file the lines of each identity are; closes the file.

    They stand together as a rule. Raises RefsrError as `read_numbers` does, of an image told of
    twice where its identity's lines stand together.
    """
    index: dict[str, list[Lines]] = {}
    with file:
        rows = _numbers(file, title, columns, _ALL)
        for identity, group in groupby(rows, key=lambda row: row[1][: len("n000001")]):
            together: list[_Line] = []
            lines: dict[str, int] = {}
            for line, name, _ in group:
                _remember(lines, name, line.number, title)
                together.append(line)
            part = Lines(together[0].start, together[-1].end, together[0].number - 1)
            index.setdefault(identity, []).append(part)
    if not index:
        _logger.warning("%s: holds no row, so it says nothing of any image", title)
    return index


def lines_of(lines: dict[str, list[Lines]], identities: Collection[str]) -> list[Lines]:
    """The lines of these identities, in the order of the file."""
    return sorted(part for identity in identities for part in lines.get(identity, ()))


def _remember(lines: dict[str, int], name: str, number: int, title: str) -> None:
    if name in lines:
        raise RefsrError(
            f"{title}:{number}: {name} stands in line {lines[name]} already; take one of them out"
        )
    lines[name] = number


def _numbers(
    file: BinaryIO, title: str, columns: tuple[str, ...], part: Lines
) -> Iterator[tuple[_Line, str, list[float]]]:
    """(line, image name, its numbers) of each line of a part of a box or landmark file."""
    for line in _lines(file, title, part):
        if line.number == 1 and line.text.upper().startswith("NAME_ID"):
            continue
        fields = [field.strip() for field in line.text.rstrip(", ").split(",")]
        name = fields[0].strip('"').removesuffix(".jpg")
        numbers = _floats(fields[1:])
        if not _NAME.fullmatch(name) or numbers is None or len(numbers) != len(columns):
            expected = f'"n000001/0001_01" and {len(columns)} numbers ({", ".join(columns)})'
            raise RefsrError(
                f"{title}:{line.number}: {line.text[:120]!r} is not {expected}; "
                "mend the line or take it out"
            )
        yield line, name, numbers


def read_sexes(file: BinaryIO, title: str) -> dict[str, str]:
    """identity -> "m" or "f" of an identity_meta.csv; identities without one are not in it.

    Raises RefsrError naming the file and the line that cannot be read.
    """
    sexes = {}
    with file:
        for number, line, _, _ in _lines(file, title, _ALL):
            if number == 1 and line.strip().lower().startswith("class_id"):
                continue
            entry = _sex(line)
            if entry is None:
                raise RefsrError(
                    f"{title}:{number}: {line[:120]!r} is not "
                    "`Class_ID, Name, Sample_Num, Flag, Gender` "
                    '(e.g. n000001, "14th_Dalai_Lama",424,0, m); mend the line or take it out'
                )
            identity, sex = entry
            if sex:
                sexes[identity] = sex
    return sexes


def _sex(line: str) -> tuple[str, str] | None:
    """(identity, "m", "f" or "") of `n000001, "14th_Dalai_Lama",424,0, m,`; else None.

    Read from the right, since the name may hold commas, and its quotes, which come after a space,
    do not quote.
    """
    text = line.strip()
    body = text.rstrip(",").rstrip()
    head, _, sex = body.rpartition(",")
    sex = sex.strip().lower()
    if sex not in ("m", "f", ""):  # then that was the flag, and the sex after it is not given
        head, sex = body if len(body) < len(text) else "", ""
    head, _, flag = head.rpartition(",")
    head, _, samples = head.rpartition(",")
    identity, comma, _ = head.partition(",")
    identity, samples = identity.strip(), samples.strip()
    if not _IDENTITY.fullmatch(identity) or not comma or flag.strip() not in ("0", "1"):
        return None
    return (identity, sex) if samples.isascii() and samples.isdigit() else None


def _lines(file: BinaryIO, title: str, part: Lines) -> Iterator[_Line]:
    """The lines of a part of a file that are not blank."""
    file.seek(part.start)
    number, end = part.before, part.start
    while end < part.end and (raw := file.readline(_MAX_LINE)):
        number, start, end = number + 1, end, end + len(raw)
        if len(raw) == _MAX_LINE:
            raise RefsrError(
                f"{title}:{number}: a line of {_MAX_LINE} bytes and more; "
                "this is no file of VGGFace2"
            )
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise RefsrError(
                f"{title}:{number}: not UTF-8 ({error.reason}); fetch the file anew or convert it"
            ) from error
        if text:
            yield _Line(number, text, start, end)


def _floats(fields: list[str]) -> list[float] | None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
