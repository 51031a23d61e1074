"""Write files and folders atomically.

New content is written beside its place, to `NAME.partial`; then both names are exchanged in one
call.
"""

import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from refsr.io.paths import NAME_BYTES

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_AT_CWD = -100  # AT_FDCWD of linux/fcntl.h
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{8}\.partial$")  # see `write_file`
_EACH = 1000  # files; more are flushed by one sync of the disks, which is faster


def sibling(path: Path, suffix: str) -> Path:
    """`NAME` + `suffix` beside `path`; a hash instead of NAME where the name would be too long."""
    name = path.name + suffix
    if len(os.fsencode(name)) > NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
        name = f"refsr-{digest[:32]}{suffix}"
    return path.with_name(name)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with its content; a missing one is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source: Path, to: Path, without: Sequence[str] = ()) -> None:
    """Copy a file, or a folder except for the names `without` directly in it."""
    if source.is_dir():
        ignored = {source: without}
        shutil.copytree(source, to, ignore=lambda folder, _: ignored.get(Path(folder), ()))
    else:
        shutil.copyfile(source, to)


def replace(new: Path, place: Path, aside: Path) -> None:
    """Replace the file or folder at `place` by `new`, and delete the old one.

    At every moment either the old or the new one is at `place`, where the file system can exchange
    names. Where it cannot, the old one is at `aside` for a moment, and `restore` repairs the state
    after a kill.

    Args:
        new: A file or folder on the same disk; the caller has flushed its bytes.
        place: Where it goes.
        aside: A free path beside it.
    """
    if not os.path.lexists(place):
        new.rename(place)
    elif _exchange(new, place):
        remove(new)
    else:
        place.rename(aside)
        new.rename(place)
        aside.rename(new)
        remove(new)
    flush_folder(place.parent)


def restore(place: Path, aside: Path, new: Path) -> None:
    """Complete or undo a `replace` that was killed while the old one was at `aside`."""
    if not os.path.lexists(aside):
        return
    if os.path.lexists(place):
        remove(new)
        aside.rename(new)
        remove(new)
    else:
        aside.rename(place)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, then rename that file to `path`.

    A link at `path` stays; its target is replaced.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = sibling(place, f".{secrets.token_hex(4)}.partial")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        write(partial)
        flush(partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def remove_half_written(folder: Path) -> None:
    """Delete unfinished files of `write_file` from a folder that nobody writes to."""
    for path in folder.rglob("*.partial"):
        if _HALF_WRITTEN.search(path.name):
            remove(path)


def flush(path: Path) -> None:
    """Flush a file, or all files of a folder, to the disk."""
    if not path.is_dir():
        _fsync(path)
        return
    files = [Path(root) / name for root, _, names in os.walk(path) for name in names]
    if len(files) > _EACH:
        os.sync()
        return
    for file in files:
        if not file.is_symlink():
            _fsync(file)
    for root, _, _ in os.walk(path):
        flush_folder(Path(root))


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the file system can do that."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError:  # some network volumes refuse it for folders
        return
    finally:
        os.close(handle)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one call; False where the system or the disk cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE) == 0)
