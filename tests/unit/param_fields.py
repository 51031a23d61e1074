"""All fields of the params file, hostile values for them, and what reads a section."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from refsr.config import Data, Section
from refsr.errors import RefsrError
from refsr.params import parse_data, parse_section
from refsr.side_config import KNOWN

REQUIRED = {"fetch": {"repository": "r", "path": "p", "revision": "v"}}
HOSTILE: list[Any] = [
    *(
        "\n",
        "a\nb",
        "a\0b",
        "\u202e\u0645",
        "\N{PILE OF POO}",
        "2020-01-01",
        "2001-12-14t21:59:43.10-05:00",
        "-x",
        "0x10",
    ),
    *(date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), b"bytes", {1, 2}, (1, 2), 1j, object()),
    *(
        None,
        True,
        False,
        "",
        " ",
        "yes",
        "0100",
        "1:30",
        "8",
        "a/b",
        "~",
        "~/x",
        "\0",
        "\ud800",
        "x" * 5000,
    ),
    *(0, 1, -1, 2**31, 2**32, 2**63, 10**400, 0.5, 1e308, math.nan, math.inf, -math.inf, 8.0, -0.0),
    *(
        [],
        {},
        [1],
        ["n000001"],
        {"min": 1},
        [[[]]],
        {"a": {"b": []}},
        {"width": 1e300},
        {"width": True},
    ),
]


def _fields(
    section: type[Section], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(path, JSON schema) of every field of a section, those of sections within it too."""
    schemas = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        yield (*path, name), schemas[name]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _fields(field.annotation, (*path, name))


ALL = KNOWN | {"data": Data}
FIELDS = [
    (name, path, schema) for name, section in ALL.items() for path, schema in _fields(section)
]


def near_bounds(schema: dict[str, Any]) -> list[Any]:
    """The bounds of a field, and what lies just beside them."""
    values: list[Any] = list(schema.get("enum", []))
    for part in (schema, *schema.get("anyOf", [])):
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if key in part:
                values += [
                    part[key] - 1,
                    part[key],
                    part[key] + 1,
                    float(part[key]),
                    part[key] + 0.5,
                ]
    return values


def parse(name: str, values: object) -> Section:
    if name != "data":
        return parse_section(name, values)
    return parse_data(values)


def parsed(name: str, path: tuple[str, ...], value: Any) -> Section | None:
    values: dict[str, Any] = dict(REQUIRED.get(name, {}))
    inner = values
    for key in path[:-1]:
        inner = inner.setdefault(key, {"min": 1, "max": 2} if key.endswith("_images") else {})
    inner[path[-1]] = value
    try:
        return parse(name, values)
    except RefsrError as error:
        assert str(error).startswith(f"params: {name}")
        assert len(str(error)) < 3000
        return None
