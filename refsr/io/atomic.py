"""Files and folders that appear whole or not at all.

What is being written stands beside its place, `NAME.partial`; the old and the new then change names in one call.
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
_EACH = 1000  # files; more are flushed by one sync of the disks, which is quicker


def sibling(path: Path, suffix: str) -> Path:
    """`NAME` + `suffix` beside `path`; where that name is too long, a short one that stands for it."""
    name = path.name + suffix
    if len(os.fsencode(name)) > NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
        name = f"refsr-{digest[:32]}{suffix}"
    return path.with_name(name)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source: Path, to: Path, without: Sequence[str] = ()) -> None:
    """Copy a file, or a folder but for these names directly in it."""
    if source.is_dir():
        shutil.copytree(source, to, ignore=lambda folder, _: without if Path(folder) == source else ())
    else:
        shutil.copyfile(source, to)


def replace(new: Path, place: Path, aside: Path) -> None:
    """Put `new`, a file or folder on the same disk, in the place of what stands at `place`, which is deleted.

    At every moment either the old or the new stands there, as far as the file system can do it. Elsewhere the old one
    stands at `aside` for a moment: `restore` mends what a kill leaves. The bytes of `new` are flushed by the caller.
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
    """Mend a replacement that was killed half way: the old one stands at `aside`, the new one at `new` or `place`."""
    if not os.path.lexists(aside):
        return
    if os.path.lexists(place):
        remove(new)
        aside.rename(new)
        remove(new)
    else:
        aside.rename(place)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a file beside `path`, then rename it there; a link at `path` stays and its target is replaced.

    Raises:
        OSError: The file cannot be written; what stood at `path` stands there still.
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
    """Delete what `write_file` was writing in a folder when its process was killed; the folder has no other writer."""
    for path in folder.rglob("*.partial"):
        if _HALF_WRITTEN.search(path.name):
            remove(path)


def flush(path: Path) -> None:
    """Have the bytes of a file, or of all files of a folder, on the disk before anything is renamed."""
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
    """Have the names in a folder on the disk, where the file system can do that."""
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
    return bool(rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)
