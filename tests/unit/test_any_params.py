"""Whatever stands in a params file, it is taken and can be used, or one message refuses it."""

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_model_name

from refsr.config import KNOWN, Data, Register, Section, TrainSisr
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text
from refsr.models import build
from refsr.params import load_data, load_section, parse_data, parse_section

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


def _near_bounds(schema: dict[str, Any]) -> list[Any]:
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


def _parse(name: str, values: object) -> Section:
    if name != "data":
        return parse_section(name, values)
    return parse_data(values)


def _parsed(name: str, path: tuple[str, ...], value: Any) -> Section | None:
    values: dict[str, Any] = dict(REQUIRED.get(name, {}))
    inner = values
    for key in path[:-1]:
        inner = inner.setdefault(key, {"min": 1, "max": 2} if key.endswith("_images") else {})
    inner[path[-1]] = value
    try:
        return _parse(name, values)
    except RefsrError as error:
        assert str(error).startswith(f"params: {name}")
        assert len(str(error)) < 3000
        return None


def _require_usable(name: str, section: Section) -> None:
    """What reads the section takes it."""
    document = section.model_dump(mode="json", exclude_none=True)
    assert _parse(name, json.loads(json.dumps(document, allow_nan=False).encode())) == section
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
    for value in [*HOSTILE, *_near_bounds(schema)]:
        section = _parsed(name, path, value)
        if section is not None:
            _require_usable(name, section)


@pytest.mark.parametrize(("name", "field", "holding"), ELEMENTS)
def test_every_element_of_a_list_or_mapping_is_taken_or_refused(
    name: str, field: str, holding: Callable[[Any], Any]
) -> None:
    for value in HOSTILE:
        section = _parsed(name, (field,), holding(value))
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


def _as_yaml(value: Any) -> str:
    """JSON is YAML, but for NaN and the infinities."""
    text = json.dumps(value)
    return text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value).encode()
    except (TypeError, ValueError):
        return False
    return True


@pytest.mark.parametrize(
    ("name", "path", "schema"), FIELDS, ids=[".".join((name, *path)) for name, path, _ in FIELDS]
)
def test_a_file_and_a_struct_of_kubeflow_are_refused_in_the_same_words(
    tmp_path: Path, name: str, path: tuple[str, ...], schema: dict[str, Any]
) -> None:
    """`dvc repro` reads a file; a component gets its section as JSON, in which integers are floats."""
    file = tmp_path / "params.yaml"
    known = [
        value
        for value in [*HOSTILE, *_near_bounds(schema)]
        if _is_json(value) and value != "\ud800"
    ]
    for value in known:
        values: dict[str, Any] = dict(REQUIRED.get(name, {}))
        inner = values
        for key in path[:-1]:
            inner = inner.setdefault(key, {"min": 1, "max": 2} if key.endswith("_images") else {})
        inner[path[-1]] = value
        file.write_text(_as_yaml({name: values}))
        read = _outcome(partial(_loaded, file, name), f"{file}: ")
        assert read == _outcome(
            partial(_parse, name, json.loads(json.dumps(values))), "params: "
        ), value


def _loaded(file: Path, name: str) -> Section:
    return load_data(file) if name == "data" else load_section(file, name)


def _outcome(read: Callable[[], Section], source: str) -> str | Section:
    """The section, or the message without the name of what was read."""
    try:
        return read()
    except RefsrError as error:
        return str(error).replace(source, "")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "path", "schema"), FIELDS, ids=[".".join((name, *path)) for name, path, _ in FIELDS]
)
def test_no_field_takes_nan_or_infinity(
    name: str, path: tuple[str, ...], schema: dict[str, Any], value: float
) -> None:
    del schema
    assert _parsed(name, path, value) is None
    if path[-1] == "model":
        assert _parsed(name, path, {"free": value}) is None


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
    section = _parsed(name, path, value)
    if section is not None:
        _require_usable(name, section)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_sisr: {seed: yes}", "seed: .*'yes'"),
        ("train_sisr: {seed: true}", "seed: .*True"),
        ("curate: {hr_size: 0100}", "hr_size: .*'0100'"),
        ("curate: {hr_size: 1:30}", "hr_size: .*'1:30'"),
        ("curate: {hr_size: 64, hr_size: 32}", "'hr_size' is there twice"),
        ("train_sisr: {batch_size: 1000000000}", "batch_size: .*8192"),
        ("train_sisr: {learning_rate: .nan}", "learning_rate: "),
        ("register: {gate: {psnr_over_none: -.inf}}", "psnr_over_none: "),
        ("register: {name: a/b}", "register.name: .*remove /"),
        ("register: {name: 2020-01-01:x}", "register.name: .*remove :"),
        ("curate: {identities: []}", "names nobody"),
        ("train_sisr: {model: {width: 100000}}", "option width: a whole number from 2 to 1024"),
        ("train_sisr: {model: {blocks: yes}}", "option blocks: a whole number"),
        ("data: {raw: ~/faces}", "`~` is not expanded"),
        ("data: {row: x}", "data.row: unknown parameter; known are: raw"),
        ("evaluate: {lpips: ~/x}", "`~` is not expanded"),
        ("curate: " + "[" * 20_000, "more than 32 levels"),
        ("curate: &a [*a]", "an alias that contains itself"),
    ],
)
def test_a_fault_anywhere_in_the_file_is_reported_before_any_stage(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    for stage in ("synthesize", "train_sisr", "register"):
        with pytest.raises(RefsrError, match=f"(?s)params.yaml.*{message}"):
            load_section(path, stage)


def test_dates_and_numbers_as_names_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        "register: {name: 2020-01-01}\ndata: {raw: 1:30}\ntrain_sisr: {learning_rate: 1e-4}\n"
    )
    assert load_section(path, "register").name == "2020-01-01"  # type: ignore[attr-defined]
    assert load_section(path, "train_sisr").learning_rate == 1e-4  # type: ignore[attr-defined]
    assert load_data(path).raw == "1:30"


@pytest.mark.parametrize("text", ["~", "~/x"])
def test_a_tilde_on_the_command_line_is_refused_with_the_path_it_means(text: str) -> None:
    assert path_option("data/~x") == Path("data/~x")
    assert path_text("s3://bucket/~") == "s3://bucket/~"
    with pytest.raises(RefsrError, match=f"`~` is not expanded; write {Path.home()}"):
        path_option(text)


def test_only_fields_that_are_no_paths_take_a_tilde() -> None:
    """Of all fields that take text, the paths are those that refuse `~/x`."""
    taken = {
        ".".join((name, *path))
        for name, path, _ in FIELDS
        if _parsed(name, path, "~/x") is not None
    }
    assert taken == {"fetch.revision", "fetch.remote", "fetch.endpoint"}
    assert _parsed("evaluate", ("compare",), {"other": "~/x"}) is None
