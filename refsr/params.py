"""The params file, read strictly and checked as a whole against the classes of refsr.config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from refsr.config import KNOWN, Data, Section
from refsr.consistency import faults
from refsr.errors import RefsrError
from refsr.redaction import shown
from refsr.strict_yaml import read_yaml

_SHOWN = 120  # characters of a value in a message
_FAULTS = 20  # faults in a message


def load_section(path: Path, name: str) -> Section:
    """The section `name` of a params file, checked; all other sections must be sound too, and fit it.

    A fault in the section of a late stage is so found before an early one has run for hours.
    Raises RefsrError naming the file and the key.
    """
    document = _document(path)
    named = [*(other for other in document if other in KNOWN and other != name), name]
    sections = {each: parse_section(each, _values(document, each), source=str(path)) for each in named}
    _require_consistent(sections | {"data": _data(document, str(path))}, str(path))
    return sections[name]


def _require_consistent(sections: Mapping[str, Section], source: str) -> None:
    if told := faults(sections):
        raise RefsrError("\n".join(f"{source}: {line}" for line in told))


def load_data(path: Path) -> Data:
    """The section `data` of a params file: where data lies. Raises RefsrError naming the file and the key."""
    return _data(_document(path), str(path))


def section_names(path: Path) -> set[str]:
    """The sections a params file has. Raises RefsrError where it cannot be read."""
    return set(_document(path))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = read_yaml(path)
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such params file; name one with --params") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise RefsrError(f"{path}: a mapping with a section per stage is expected, not {type(document).__name__}")
    unknown = sorted(set(document) - set(KNOWN) - {"data"})
    if unknown:
        raise RefsrError(f"{path}: unknown section {unknown[0][:_SHOWN]!r}; known are: data, {', '.join(KNOWN)}")
    _data(document, str(path))
    return document


def _values(document: dict[str, Any], name: str) -> Any:
    """What stands under a name; an empty section is one of defaults."""
    values = document.get(name)
    return {} if values is None else values


def _data(document: dict[str, Any], source: str) -> Data:
    return parse_data(_values(document, "data"), source)


def parse_data(values: object, source: str = "params") -> Data:
    """`values` as the section `data`. Raises RefsrError naming `source`, key and value."""
    try:
        return Data.model_validate(values)
    except ValidationError as error:
        raise RefsrError(_explained(source, "data", Data, error)) from error
    except (UnicodeError, RecursionError) as error:
        raise RefsrError(f"{source}: data: a value that is not UTF-8, or nested too deep") from error


def parse_section(name: str, values: object, source: str = "params") -> Section:
    """`values` as the typed section `name`. Raises RefsrError naming `source`, key and value."""
    try:
        section = KNOWN[name].model_validate(values)
    except ValidationError as error:
        raise RefsrError(_explained(source, name, KNOWN[name], error)) from error
    except (UnicodeError, RecursionError) as error:  # pydantic's own, of half a surrogate pair or of deep nesting
        raise RefsrError(f"{source}: {name}: a value that is not UTF-8, or nested too deep") from error
    _require_consistent({name: section}, source)
    return section


def _explained(source: str, name: str, section: type[BaseModel], error: ValidationError) -> str:
    faults = error.errors()
    lines = []
    for fault in faults[:_FAULTS]:
        key = ".".join([name, *(str(part)[:_SHOWN] for part in fault["loc"])])
        if fault["type"] == "extra_forbidden":
            known = ", ".join(_owner(section, fault["loc"]).model_fields)
            lines.append(f"{source}: {key}: unknown parameter; known are: {known}")
        elif fault["type"] == "value_error":  # ours: it says what is to be said of the value
            lines.append(f"{source}: {key}: {fault['msg']}")
        else:
            lines.append(f"{source}: {key}: {fault['msg']}, not {_shown(fault['input'], *fault['loc'])}")
    if len(faults) > _FAULTS:
        lines.append(f"{source}: and {len(faults) - _FAULTS} faults more")
    return "\n".join(lines)


def _owner(section: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The class that an unknown key was given to."""
    owner = section
    for part in location[:-1]:
        owner = owner.model_fields[str(part)].annotation  # type: ignore[assignment]
    return owner


def _shown(value: object, *keys: object) -> str:
    if isinstance(value, int) and value.bit_length() > 1000:  # too long for Python to write in digits
        return "an integer of more than 300 digits"
    text = shown(value, *keys)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
