"""A params file, its values as JSON and as text: one message refuses what cannot be used."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from param_fields import FIELDS, HOSTILE, REQUIRED, near_bounds, parse, parsed

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text
from refsr.params import load_data, load_section


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
    """`dvc repro` reads a file; a component gets its section as JSON,
    in which integers are floats.
    """
    file = tmp_path / "params.yaml"
    known = [
        value for value in [*HOSTILE, *near_bounds(schema)] if _is_json(value) and value != "\ud800"
    ]
    for value in known:
        values: dict[str, Any] = dict(REQUIRED.get(name, {}))
        inner = values
        for key in path[:-1]:
            inner = inner.setdefault(key, {"min": 1, "max": 2} if key.endswith("_images") else {})
        inner[path[-1]] = value
        file.write_text(_as_yaml({name: values}))
        read = _outcome(partial(_loaded, file, name), f"{file}: ")
        assert read == _outcome(partial(parse, name, json.loads(json.dumps(values))), "params: "), (
            value
        )


def _loaded(file: Path, name: str) -> Section:
    return load_data(file) if name == "data" else load_section(file, name)


def _outcome(read: Callable[[], Section], source: str) -> str | Section:
    """The section, or the message without the name of what was read."""
    try:
        return read()
    except RefsrError as error:
        return str(error).replace(source, "")


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
        ".".join((name, *path)) for name, path, _ in FIELDS if parsed(name, path, "~/x") is not None
    }
    fetched = {"fetch.revision", "fetch.remote", "fetch.endpoint"}
    assert taken == {"curate.licence"} | fetched
    assert parsed("evaluate", ("compare",), {"other": "~/x"}) is None
