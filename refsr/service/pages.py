"""The HTML pages: files of this package, complete in themselves."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

_FOLDER = Path(__file__).parent
_BODY = "multipart/form-data"


class Table(NamedTuple):
    """A table of the reference."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Entry(NamedTuple):
    """A method of a path of the service, as the reference shows it."""

    method: str
    path: str
    summary: str
    text: str
    tables: tuple[Table, ...]


def page(name: str, **values: object) -> HTMLResponse:
    """A page that may run and show only what it holds, and call this server alone."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    if values:
        text = Environment(autoescape=True).from_string(text).render(values)
    return HTMLResponse(text, headers={"Content-Security-Policy": policy(text)})


def reference(openapi: Mapping[str, Any], request: Request) -> HTMLResponse:
    """The page for programmers: examples, and what the OpenAPI document says."""
    return page(
        "docs.html",
        version=openapi["info"]["version"],
        description=openapi["info"]["description"],
        url=str(request.base_url).rstrip("/"),
        paths=[*_paths(openapi)],
    )


def policy(text: str) -> str:
    """The Content-Security-Policy of a page: its own script and style by their hashes."""
    rules = {
        "default-src": "'none'",
        "script-src": _hashes(text, "script"),
        "style-src": _hashes(text, "style"),
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes(text: str, tag: str) -> str:
    """The hash of each element of this name; 'none' without one."""
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = [hashlib.sha256(body.encode()).digest() for body in bodies]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return " ".join(hashes) or "'none'"


def _paths(openapi: Mapping[str, Any]) -> Iterator[Entry]:
    for path, methods in openapi["paths"].items():
        for method, entry in methods.items():
            answers = [
                (status, answer["description"]) for status, answer in entry["responses"].items()
            ]
            tables = (
                Table(("Field", "Values", "Default", "Meaning"), [*_fields(openapi, entry)]),
                Table(("Status", "Meaning"), answers),
            )
            text = entry.get("description", "").replace("`", "")
            yield Entry(method.upper(), path, entry["summary"], text, tables)


def _fields(openapi: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The fields of a form: name, values, default, meaning."""
    if _BODY not in entry.get("requestBody", {}).get("content", {}):
        return
    reference = entry["requestBody"]["content"][_BODY]["schema"]["$ref"]
    form = openapi["components"]["schemas"][reference.rpartition("/")[2]]
    for name, field in form["properties"].items():
        default = "needed" if name in form.get("required", ()) else _default(field)
        yield name, _values(field), default, field.get("description", "")


def _default(field: Mapping[str, Any]) -> str:
    """As a form has it; empty where the field may be left out."""
    default = field.get("default")
    return "" if default in (None, []) else json.dumps(default)


def _values(field: Mapping[str, Any]) -> str:
    """What a field may hold, in words."""
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    kind = kinds[0]
    if kind.get("type") == "array":
        return f"up to {kind['maxItems']} files"
    if "minimum" in kind:
        return f"{kind['minimum']:g} to {kind['maximum']:g}"
    return {"boolean": "true or false", "string": "file"}[kind["type"]]
