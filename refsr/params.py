"""Read the params file and check all of it against the classes of refsr.config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from refsr.config import Data, Section
from refsr.consistency import faults
from refsr.errors import RefsrError
from refsr.redaction import shown
from refsr.side_config import KNOWN
from refsr.strict_yaml import read_yaml

_SHOWN = 120  # characters of a value in a message
_FAULTS = 20  # faults in a message
_NO_TEXT = "a value that is not UTF-8, or nested too deep"


def load_section(path: Path, name: str) -> Section:
    """Read the section `name` of a params file.

    All other sections are checked too, so that a fault in the section of a late stage is reported
    before an early stage has run for hours.

    Raises:
        RefsrError: A section is invalid, or sections contradict each other; names file and key.
    """
    document, source = _document(path), str(path)
    others = [each for each in document if each in KNOWN and each != name]
    sections: dict[str, Section] = {}
    for each in (*others, name):
        sections[each] = parse_section(each, _values(document, each), source)
    _require_consistent(sections | {"data": _data(document, source)}, source)
    return sections[name]


def _require_consistent(sections: Mapping[str, Section], source: str) -> None:
    if lines := faults(sections):
        raise RefsrError("\n".join(f"{source}: {line}" for line in lines))


def load_data(path: Path) -> Data:
    """Read the section `data` of a params file.

    Raises:
        RefsrError: The section is invalid; names file and key.
    """
    return _data(_document(path), str(path))


def section_names(path: Path) -> set[str]:
    """The names of the sections in a params file.

    Raises:
        RefsrError: The file cannot be read.
    """
    return set(_document(path))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = read_yaml(path)
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such params file; name one with --params") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        expected = "a mapping with a section per stage is expected"
        raise RefsrError(f"{path}: {expected}, not {type(document).__name__}")
    unknown = sorted(set(document) - set(KNOWN) - {"data"})
    if unknown:
        known = f"known are: data, {', '.join(KNOWN)}"
        raise RefsrError(f"{path}: unknown section {unknown[0][:_SHOWN]!r}; {known}")
    _data(document, str(path))
    return document


def _values(document: dict[str, Any], name: str) -> Any:
    """The values of a section; an empty section has the defaults."""
    values = document.get(name)
    return {} if values is None else values


def _data(document: dict[str, Any], source: str) -> Data:
    return parse_data(_values(document, "data"), source)


def parse_data(values: object, source: str = "params") -> Data:
    """Check `values` as the section `data`.

    Raises:
        RefsrError: A value is invalid; names `source`, key and value.
    """
    try:
        return Data.model_validate(values)
    except ValidationError as error:
        raise RefsrError(_explained(source, "data", Data, error)) from error
    except (UnicodeError, RecursionError) as error:
        raise RefsrError(f"{source}: data: {_NO_TEXT}") from error


def parse_section(name: str, values: object, source: str = "params") -> Section:
    """Check `values` as the section `name`.

    Raises:
        RefsrError: A value is invalid; names `source`, key and value.
    """
    try:
        section = KNOWN[name].model_validate(values)
    except ValidationError as error:
        raise RefsrError(_explained(source, name, KNOWN[name], error)) from error
    except (
        UnicodeError,
        RecursionError,
    ) as error:  # pydantic's: half a surrogate pair, deep nesting
        raise RefsrError(f"{source}: {name}: {_NO_TEXT}") from error
    _require_consistent({name: section}, source)
    return section


def _explained(
    source: str,
    name: str,
    section: type[BaseModel],
    error: ValidationError,
) -> str:
    faults = error.errors()
    lines = [f"{source}: {_explain(name, section, each)}" for each in faults[:_FAULTS]]
    if len(faults) > _FAULTS:
        lines.append(f"{source}: and {len(faults) - _FAULTS} more faults")
    return "\n".join(lines)


def _explain(name: str, section: type[BaseModel], fault: ErrorDetails) -> str:
    location = fault["loc"]
    key = ".".join([name, *(str(part)[:_SHOWN] for part in location)])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_owner(section, location).model_fields)
        return f"{key}: unknown parameter; known are: {known}"
    if fault["type"] == "value_error":  # of this package: the message shows the value
        return f"{key}: {fault['msg']}"
    return f"{key}: {fault['msg']}, not {_shown(fault['input'], *location)}"


def _owner(section: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The class of the mapping that has an unknown key."""
    owner = section
    for part in location[:-1]:
        owner = owner.model_fields[str(part)].annotation  # type: ignore[assignment]
    return owner


def _shown(value: object, *keys: object) -> str:
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to print it
        return "an integer of more than 300 digits"
    text = shown(value, *keys)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
