"""The one rule for paths that people write, on a command line or in a params file.

`~` is refused, with the path it stands for: DVC, Kubeflow and a quoted argument take it as the name of a folder.
"""

import argparse
from pathlib import Path

from refsr.errors import RefsrError

MAX_PATH = 4096  # characters, of a path or a URI


def checked_path(text: str) -> str:
    """`text` itself. Raises ValueError where it cannot be a path or URI, or begins with `~`."""
    if not text:
        raise ValueError("is empty; name a file or folder")
    if len(text) > MAX_PATH:
        raise ValueError(f"has {len(text)} characters; a path has at most {MAX_PATH}")
    if "\0" in text:
        raise ValueError("holds a NUL character, which no path can")
    if text.partition("/")[0] == "~" or _expanded(text) != text:
        raise ValueError(f"`~` is not expanded; write {_expanded(text)} (or ./{text} for a folder of that name)")
    return text


def check_arguments(options: argparse.Namespace) -> None:
    """Hold every path among parsed arguments against the rule. Raises RefsrError naming the option and its value."""
    for name, value in vars(options).items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(one, Path | str) or not str(one):
                continue
            try:
                checked_path(str(one))
            except ValueError as error:
                raise RefsrError(f"--{name.replace('_', '-')} {str(one)[:120]!r}: {error}") from error


def _expanded(text: str) -> str:
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # a user that is not known here: then it is a name like any other
        return text
