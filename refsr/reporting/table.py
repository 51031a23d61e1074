"""A table of text, as results.md and the report show it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A titled table of text, and what must be known to read it."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
