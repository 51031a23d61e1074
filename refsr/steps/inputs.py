"""What a step reads: all inputs are checked before it starts, and its work is known by them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.io import marker
from refsr.io.checksum_cache import cached
from refsr.io.files import file_hash

READ = ("raw set", "input", "inputs")


def option_name(key: str) -> str:
    """The option of the command line that gives a port its path."""
    return f"--{key.replace('_', '-')}"


def checked_inputs(name: str, kinds: Mapping[str, str], paths: Mapping[str, Any]) -> dict[str, Any]:
    """What the step reads, all of it there; a raw set as text, since a Path would spoil its URI."""
    read = {key: paths[key] for key, kind in kinds.items() if kind in READ and key in paths}
    inputs = {key: str(value) if kinds[key] == "raw set" else value for key, value in read.items()}
    for key, value in inputs.items():
        _require(name, key, kinds[key], value)
    return inputs


def require_whole(kinds: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
    """Raises RefsrError where a file of an input is not as its stage left it.

    A raw set is the user's to change.
    """
    for key, value in inputs.items():
        if kinds[key] == "raw set":
            continue
        for path in value if kinds[key] == "inputs" else [value]:
            marker.require_whole(Path(path))


def _require(name: str, key: str, kind: str, value: Any) -> None:
    option = f"{name}: input {option_name(key)}"
    if kind == "raw set":
        from refsr.io import sources

        try:
            sources.check(value)
        except RefsrError as error:
            raise RefsrError(f"{option} {error}") from error
        return
    for path in value if kind == "inputs" else [value]:
        if not path.exists():
            raise RefsrError(
                f"{option} {path}: no such file or folder; run the stage that makes it "
                "(`dvc repro` runs all that are needed), or name another path"
            )


def fingerprint_of(
    name: str,
    params: Section,
    kinds: Mapping[str, str],
    inputs: Mapping[str, Any],
    options: Mapping[str, Any],
    named: Mapping[str, str],
) -> str:
    """A hash of what a step would do, by which it finds what a killed run of it left.

    "" where none is kept. `Section.may_change` and inputs that are only required do not count.
    """
    if "resumable output" not in kinds.values():
        return ""
    known = {key: [uri] for key, uri in named.items()}
    values = params.model_dump(mode="json", exclude=set(params.may_change))
    facts: list[Any] = [name, values, dict(options)]
    facts += [known.get(key) or _facts(kinds[key], inputs[key]) for key in inputs]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _facts(kind: str, value: Any) -> list[Any]:
    """What changes with an input: names and contents of its files.

    Not their times, so that another pod that is handed the same artifacts comes to the same. Of a
    raw set, which may be huge, sizes and times or ETags instead of contents.
    """
    if kind == "raw set":
        from refsr.io import sources

        return [sources.fingerprint(value)]
    facts = []
    for path in value if kind == "inputs" else [value]:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        known = marker.checksums(path)  # compared with the files by `require_whole`
        names = {str(file.relative_to(path)): file for file in files}
        with cached(file_hash, path) as digest:
            facts += [(name, known.get(name) or digest(file)) for name, file in names.items()]
    return facts
