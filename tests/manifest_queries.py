"""Queries of rendered manifests."""

from typing import Any

Manifests = list[dict[str, Any]]


def of(
    manifests: Manifests,
    kind: str,
    name: str,
) -> dict[str, Any]:
    """The manifest of a kind whose name starts so."""
    of_kind = [each for each in manifests if each["kind"] == kind]
    (manifest,) = (each for each in of_kind if each["metadata"]["name"].startswith(name))
    return manifest


def values(value: Any, key: str) -> list[Any]:
    """Every value of `key`, at any depth."""
    if isinstance(value, list):
        return [inner for each in value for inner in values(each, key)]
    if isinstance(value, dict):
        return [
            *([value[key]] if key in value else []),
            *(v for each in value.values() for v in values(each, key)),
        ]
    return []
