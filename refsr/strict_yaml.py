"""Read YAML files strictly.

Scalars follow the core schema of YAML 1.2, so `yes`, `1:30` and dates are strings. A whole number
with a leading zero is a string too, because some programs read it as octal. Errors are: duplicate
keys, values other than strings, numbers, booleans, lists and mappings, and more than MAX_BYTES,
MAX_DEPTH levels or MAX_NODES values, where an alias counts each time it is used.
"""

import copy
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from refsr.errors import RefsrError
from refsr.redaction import names_secret

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_NODES = 100_000
_SHOWN = 80  # characters of a value in a message


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, and without tags beyond JSON's types."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are unique strings."""
        del deep
        if not isinstance(node, yaml.MappingNode):
            raise _fault(node, "a mapping is expected")
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _fault(key_node, f"the key {_shown(key)} is not a string; put it in quotes")
            if key in mapping:
                raise _fault(key_node, f"the key {_shown(key)} is there twice; remove one of them")
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _resolver(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolver("null", r"(?:~|null|Null|NULL|)\Z", "~nN")
_Loader.yaml_implicit_resolvers.setdefault("", []).extend(_Loader.yaml_implicit_resolvers["~"])
_resolver("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF")
_resolver("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", "-+0123456789")
_resolver(
    "float",
    r"(?:[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
    "-+.0123456789",
)


def _null(loader: _Loader, node: yaml.ScalarNode) -> None:
    del loader, node


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    if node.value.lower() not in ("true", "false"):
        raise _fault(node, f"{_shown(node.value)} is neither true nor false")
    return bool(node.value.lower() == "true")


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    try:
        return int(node.value)
    except ValueError as error:
        fault = f"{_shown(node.value)} is not a whole number that can be read"
        raise _fault(node, fault) from error


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    try:
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise _fault(node, f"{_shown(node.value)} is not a number that can be read") from error


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """The string; two JSON escapes of one character (\\ud83d\\udca9) are joined."""
    text = str(node.value)
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return text


def _list(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _fault(node, "a list is expected")
    return [loader.construct_object(each, deep=True) for each in node.value]


def _map(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    return loader.construct_mapping(node)


def _unknown(loader: _Loader, node: yaml.Node) -> None:
    raise _fault(node, f"the tag {_shown(node.tag)} is not known")


_CONSTRUCTORS: dict[str, Any] = {
    "null": _null,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _text,
    "seq": _list,
    "map": _map,
}
for _tag, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)
_Loader.add_constructor(None, _unknown)


def read_yaml(path: Path) -> Any:
    """Read the document of a YAML file; None if the file is empty.

    Raises:
        FileNotFoundError: There is no such file.
        RefsrError: The file is invalid; names the file and the line.
    """
    text = ""
    try:
        text = _read(path)
        return copy.deepcopy(_checked(text, path))
    except FileNotFoundError:
        raise
    except yaml.MarkedYAMLError as error:
        fault = _explained(error, text)
        raise RefsrError(f"{path}: cannot be read as YAML: {fault}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RefsrError(f"{path}: cannot be read as YAML: {error}") from error


def load_documents(text: str) -> Iterator[Any]:
    """The documents of a text that a program has written: several times as quick, not strict."""
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    yield from yaml.load_all(text, loader)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RefsrError(f"{path}: more than {MAX_BYTES} bytes, too large for a file of parameters")
    return data.decode("utf-8-sig")


@functools.lru_cache(maxsize=8)
def _checked(text: str, path: Path) -> Any:
    """A document; each section of a params file reads the whole file."""
    _require_flat(text, path)
    return _document(text)


def _document(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _explained(error: yaml.MarkedYAMLError, text: str) -> str:
    """The fault and its place, without the lines themselves, which may contain a secret."""
    mark = error.problem_mark or error.context_mark
    what = ", ".join(each for each in (error.context, error.problem) if each)
    if mark is None:
        return what
    lines = text.splitlines()
    if mark.line < len(lines) and names_secret(lines[mark.line]):
        what = "a fault in a line that names a secret, which is not shown"
    return f"{what}: line {mark.line + 1}, column {mark.column + 1}"


def _require_flat(text: str, path: Path) -> None:
    """Refuse deep nesting before a function recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            fault = f"more than {MAX_DEPTH} levels of lists and mappings"
            raise RefsrError(f"{path}:{line}: {fault}; nest less")


def _count(node: yaml.Node, known: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
    """The number of values in a node; an alias counts each time it is used."""
    if node in above:
        raise _fault(node, "an alias that contains itself")
    if node not in known:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[node] = 1 + sum(_count(child, known, above | {node}) for child in children)
        if known[node] > MAX_NODES:
            raise _fault(node, f"more than {MAX_NODES} values")
    return known[node]


def _fault(node: yaml.Node, message: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
