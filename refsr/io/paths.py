"""Paths that a user gives, and errors of the file system as one message.

`~` is refused, with the path it stands for in the message: DVC, Kubeflow and a quoted argument take
it for the name of a folder.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refsr.errors import RefsrError

MAX_PATH = 4096  # characters, of a path or a URI
NAME_BYTES = 255  # the longest name of a file on Linux
_WAYS_OUT = {
    errno.EACCES: "change its permissions, or name another path",
    errno.EPERM: "change its permissions, or name another path",
    errno.EROFS: "name a path on a writable disk",
    errno.ENOTDIR: "a file is where a folder is needed; move it, or name another path",
    errno.EISDIR: "a folder is where a file is needed; name another path",
    errno.EEXIST: "this name exists; move it, or name another path",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "its links lead in a circle; name another path",
    errno.ENOENT: "name another path",
    errno.ENOSPC: "make room and run the command again",
    errno.EDQUOT: "make room and run the command again",
    errno.EMFILE: "allow more open files: `ulimit -n 1024`",
    errno.ENFILE: "end other programs, or allow more open files: `sysctl fs.file-max`",
}


def checked_path(text: str) -> str:
    """Returns `text`. Raises ValueError where it is no valid path or URI, or begins with `~`."""
    if not text:
        raise ValueError("is empty; name a file or folder")
    if len(text) > MAX_PATH:
        raise ValueError(f"has {len(text)} characters; a path has at most {MAX_PATH}")
    if "\0" in text:
        raise ValueError("contains a NUL character; name another path")
    if text.partition("/")[0] == "~" or _expanded(text) != text:
        raise ValueError(
            f"`~` is not expanded; write {_expanded(text)} (or ./{text} for a folder of that name)",
        )
    return text


def _expanded(text: str) -> str:
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # an unknown user: then it is a plain name
        return text


def path_text(text: str) -> str:
    """The path or URI that an option gives, unchanged.

    Raises:
        RefsrError: It is `-`, or refused by `checked_path`.
    """
    if text == "-":
        way_out = "name a file, or write ./- for a file of this name"
        raise RefsrError(f"'-': standard input and output are not supported; {way_out}")
    try:
        return checked_path(text.strip() and text)
    except ValueError as error:
        raise RefsrError(f"path {text[:120]!r}: {error}") from error


def path_option(text: str) -> Path:
    """The path that an option gives; the `type` of every path option of the command line.

    Raises:
        RefsrError: See `path_text`.
    """
    return Path(path_text(text))


def explain(error: OSError) -> str:
    """An error of the file system in one line: path, reason, way out."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    reason = error.strerror or str(error)
    way_out = _WAYS_OUT.get(error.errno or 0, "check the path and its disk")
    return f"{where + ': ' if where else ''}{reason}; {way_out}"


@contextmanager
def file_errors_as_messages(what: str = "") -> Iterator[None]:
    """Raise RefsrError, prefixed by `what`, for an OSError with a file name or a known way out."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in _WAYS_OUT:
            raise
        raise RefsrError(f"{what}{explain(error)}") from error


def require_short_names(path: Path) -> None:
    """Raises RefsrError where a name in `path` is too long for a disk."""
    for name in path.parts:
        if len(os.fsencode(name)) > NAME_BYTES:
            raise RefsrError(
                f"{path}: {name[:20]}... is longer than {NAME_BYTES} bytes; name a shorter path",
            )


def require_folder(path: Path) -> None:
    """Raises RefsrError where `path` or a parent of it is no folder, or has too long a name."""
    require_short_names(path)
    for place in (*reversed(path.parents), path):
        with file_errors_as_messages():
            if os.path.lexists(place) and not place.is_dir():
                raise RefsrError(f"{place}: not a folder; move it, or name another path")


def require_parent(path: Path) -> None:
    """Raises RefsrError where there is no folder for the file `path`."""
    if not path.parent.is_dir():
        raise RefsrError(f"{path.parent}: no such folder; make it first, or name another output")


def require_writable(path: Path) -> None:
    """Check that files can be written at `path`, or in the nearest existing folder above it.

    Nothing is changed.

    Raises:
        RefsrError: Permissions or the disk do not allow it.
    """
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    effective = os.access in os.supports_effective_ids
    mode = os.W_OK | (os.X_OK if place.is_dir() else 0)
    if not os.access(place, mode, effective_ids=effective):
        raise RefsrError(
            f"{place}: may not be written to; change its permissions, or name another path",
        )
    if not place.is_dir():
        return
    try:  # a file without a name, since permissions alone do not suffice
        os.close(os.open(place, os.O_TMPFILE | os.O_WRONLY))
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOSPC):
            raise RefsrError(explain(error)) from error


def require_writable_tree(path: Path) -> None:
    """`require_writable` for the parent of `path` and every folder in it."""
    require_writable(path.parent)
    for folder, _, _ in os.walk(path):
        require_writable(Path(folder))


def real(path: Path) -> Path:
    """The path after all links; its last parts need not exist.

    Raises:
        RefsrError: Its links lead in a circle, or it is no valid path.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.is_symlink():
            raise RefsrError(f"{path}: its links lead in a circle; name another path")
    except ValueError as error:
        raise RefsrError(f"{str(path)!r}: {error}; name another path") from error
    except OSError as error:
        raise RefsrError(explain(error)) from error
    return place
