"""The params file, read and checked against the classes of refsr.config."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from refsr.config import KNOWN, Section
from refsr.errors import RefsrError


def load_section(path: Path, name: str) -> Section:
    """The section `name` of a params file, checked; the rest of the file must be known and readable too.

    Raises RefsrError naming the file and the key.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such params file; name one with --params") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RefsrError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise RefsrError(f"{path}: a mapping with a section per stage is expected, not {type(document).__name__}")
    unknown = sorted(set(map(str, document)) - set(KNOWN) - {"data"})
    if unknown:
        raise RefsrError(f"{path}: unknown section {unknown[0]!r}; known are: data, {', '.join(KNOWN)}")
    return parse_section(name, document.get(name) or {}, source=str(path))


def parse_section(name: str, values: object, source: str = "params") -> Section:
    """`values` as the typed section `name`. Raises RefsrError naming `source`, key and value."""
    try:
        return KNOWN[name].model_validate(values)
    except ValidationError as error:
        raise RefsrError("\n".join(_explain(source, name, values, error))) from error


def _explain(source: str, name: str, values: object, error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        key = ".".join([name, *map(str, fault["loc"])])
        if fault["type"] == "extra_forbidden":
            owner: type[BaseModel] = KNOWN[name]
            for part in fault["loc"][:-1]:
                owner = owner.model_fields[str(part)].annotation  # type: ignore[assignment]
            lines.append(f"{source}: {key}: unknown parameter; known are: {', '.join(owner.model_fields)}")
        elif fault["type"] == "value_error":  # ours: it says what is to be said of the value
            lines.append(f"{source}: {key}: {fault['msg']}")
        else:
            lines.append(f"{source}: {key}: {fault['msg']}, not {fault['input']!r}")
    return lines
