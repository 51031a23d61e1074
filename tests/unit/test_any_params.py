"""Whatever stands in a params file, it is taken and can be used, or one message refuses it."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_model_name
from param_fields import ALL, FIELDS, HOSTILE, near_bounds, parse, parsed

from refsr.config import Register, Section, TrainSisr
from refsr.errors import RefsrError
from refsr.models import build

# What stands within lists and mappings: (section, field, a value that holds the hostile one).
ELEMENTS: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("curate", "identities", lambda value: [value]),
    ("curate", "identities", lambda value: ["n000001", value]),
    ("evaluate", "compare", lambda value: {"other": value}),
    ("evaluate", "compare", lambda value: {str(value): "model"}),
    *((name, "model", lambda value: {"width": value}) for name in ("train_sisr", "train_refsr")),
    *((name, "model", lambda value: {"free": value}) for name in ("train_sisr", "train_refsr")),
    *(
        (name, "model", lambda value: {str(value)[:300]: 1})
        for name in ("train_sisr", "train_refsr")
    ),
]


def _require_usable(name: str, section: Section) -> None:
    """What reads the section takes it."""
    document = section.model_dump(mode="json", exclude_none=True)
    assert parse(name, json.loads(json.dumps(document, allow_nan=False).encode())) == section
    if hasattr(section, "seed"):
        np.random.default_rng(section.seed).random()
        torch.Generator().manual_seed(section.seed * 1_000_003 + 10**9 + 1000 * 1_000_000_007)
    if isinstance(section, Register):
        _validate_model_name(section.name)
    if isinstance(section, TrainSisr):
        given_sizes = {
            "model": "sisr",
            "variant": section.variant,
            "hr_size": 32,
            "scale": section.scale,
        }
        try:
            with torch.device("meta"):
                build(given_sizes | section.model)
        except RefsrError as error:
            assert "sisr" in str(error)


@pytest.mark.parametrize(
    ("name", "path", "schema"), FIELDS, ids=[".".join((name, *path)) for name, path, _ in FIELDS]
)
def test_every_field_takes_a_value_or_refuses_it(
    name: str, path: tuple[str, ...], schema: dict[str, Any]
) -> None:
    for value in [*HOSTILE, *near_bounds(schema)]:
        section = parsed(name, path, value)
        if section is not None:
            _require_usable(name, section)


@pytest.mark.parametrize(("name", "field", "holding"), ELEMENTS)
def test_every_element_of_a_list_or_mapping_is_taken_or_refused(
    name: str, field: str, holding: Callable[[Any], Any]
) -> None:
    for value in HOSTILE:
        section = parsed(name, (field,), holding(value))
        if section is not None:
            _require_usable(name, section)


def test_all_fields_are_tested() -> None:
    """A field that a new kind of container hides would be missed by `_fields`."""
    tested = {(name, path[0]) for name, path, _ in FIELDS}
    assert tested == {
        (name, field) for name, section in ALL.items() for field in section.model_fields
    }
    nested = {name for name, path, _ in FIELDS if len(path) > 1}
    assert nested == {"curate", "train_sisr", "train_refsr", "register"}
    containers = {(name, path[0]) for name, path, schema in FIELDS if _holds_elements(schema)}
    assert containers == {(name, field) for name, field, _ in ELEMENTS}


def _holds_elements(schema: dict[str, Any]) -> bool:
    parts = [schema, *schema.get("anyOf", [])]
    return any(part.get("type") in ("array", "object") for part in parts)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "path", "schema"), FIELDS, ids=[".".join((name, *path)) for name, path, _ in FIELDS]
)
def test_no_field_takes_nan_or_infinity(
    name: str, path: tuple[str, ...], schema: dict[str, Any], value: float
) -> None:
    del schema
    assert parsed(name, path, value) is None
    if path[-1] == "model":
        assert parsed(name, path, {"free": value}) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(derandomize=True, max_examples=400, deadline=None, database=None)
@given(st.sampled_from(FIELDS), ANYTHING)
def test_any_value_is_taken_or_refused(
    field: tuple[str, tuple[str, ...], dict[str, Any]], value: Any
) -> None:
    name, path, _ = field
    section = parsed(name, path, value)
    if section is not None:
        _require_usable(name, section)
