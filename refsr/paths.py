"""The one rule for paths that people write, on a command line or in a params file.

`~` is refused, with the path it stands for: DVC, Kubeflow and a quoted argument take it as the name of a folder.
"""

from pathlib import Path

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


def _expanded(text: str) -> str:
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # a user that is not known here: then it is a name like any other
        return text
