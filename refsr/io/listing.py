"""List the files of a folder or of an S3 prefix."""

import os
from collections.abc import Iterator
from pathlib import Path

from refsr.errors import RefsrError
from refsr.io import marker
from refsr.io.archive import Row

IN_NO_ARCHIVE = -1  # `start` of a file that lies in no archive
_DEPTH = 5  # folders: vggface2/vggface2_train/train/n000002, and one more


def local_files(uri: str) -> Iterator[Row]:
    """Files and folders of a local folder, as rows of an index."""
    for entry, name in scan(Path(uri), ""):
        fault = _no_plain_file(entry)
        if fault:
            yield ascii(name)[1:-1], 0, False, "no_plain_file", fault, -1, IN_NO_ARCHIVE
            continue
        is_folder = entry.is_dir()
        size = 0 if is_folder else entry.stat().st_size
        yield _named(name, size, is_folder)


def _no_plain_file(entry: "os.DirEntry[str]") -> str:
    """Why an entry is neither a folder nor a file; "" for one that is."""
    try:
        if entry.is_dir() or entry.is_file():
            return ""
    except OSError as error:  # a link in a circle
        return f"a link that leads nowhere: {error.strerror}"
    return "a link that leads nowhere" if entry.is_symlink() else "neither a file nor a folder"


def _named(name: str, size: int, is_folder: bool) -> Row:
    if name.isprintable():
        return name, size, is_folder, "", "", -1, IN_NO_ARCHIVE
    detail = "its name is not printable UTF-8"
    return ascii(name)[1:-1], size, False, "unsafe_name", detail, -1, IN_NO_ARCHIVE


def scan(folder: Path, prefix: str) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Files and folders sorted by name; links are followed, hidden entries are skipped."""
    try:
        with os.scandir(folder) as iterator:
            entries = sorted(iterator, key=lambda entry: entry.name)
    except OSError as error:
        raise RefsrError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith("."):
            continue
        yield entry, name
        if not _no_plain_file(entry) and entry.is_dir() and name.count("/") < _DEPTH:
            yield from scan(Path(entry.path), name + "/")


def remote_files(uri: str) -> Iterator[Row]:
    """Objects under an S3 prefix, as rows of an index. Raises RefsrError where there are none."""
    from refsr.io import s3

    anything = False
    for key, size, _ in s3.listing(uri + "/"):
        anything = True
        if key and not marker.is_marker(key):
            yield _named(key.rstrip("/"), size, key.endswith("/"))
    if not anything:
        raise RefsrError(f"{uri}/: nothing under this prefix; look for it with `aws s3 ls`")
