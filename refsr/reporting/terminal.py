"""Tables and Markdown as lines of a terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

_RULE = re.compile(r"[-:| ]+")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as lines, each column as wide as its longest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def plain(markdown: str) -> str:
    """Markdown with its tables aligned, and without the marks of bold text and code."""
    lines = re.sub(r"\*\*|`", "", markdown).splitlines()
    parts = groupby(lines, lambda line: line.startswith("|"))
    return "\n".join(_table(part) if is_table else "\n".join(part) for is_table, part in parts)


def _table(lines: Iterable[str]) -> str:
    return aligned(list(_cells(lines)))


def _cells(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        if not _RULE.fullmatch(line):
            yield [cell.strip() for cell in line.rstrip().removesuffix("|")[1:].split("|")]
