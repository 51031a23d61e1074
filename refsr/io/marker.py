"""The marker file `.refsr.json`, which says which stage wrote a folder.

It holds the stage, the number of files in each folder, and a checksum of each file: equal outputs
have equal markers. A folder without a marker, or with more files than it lists, holds files of the
user. A file whose checksum differs is damaged, or was changed by hand.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.io import own_files
from refsr.io.checksum_cache import cached

MARKER = ".refsr.json"
# Names in an output from which a killed run resumes; removed once the output is in place.
RESUME_POINTS = ("state", "work.finished")


def is_marker(name: str) -> bool:
    """Whether the name of a file in a folder, archive or bucket is that of a marker."""
    return name == MARKER or name.endswith(f"/{MARKER}")


def write(folder: Path, stage: str) -> None:
    """Mark a finished folder as written by `stage`."""
    path = folder / MARKER
    path.unlink(missing_ok=True)
    names = sorted(_names(folder))
    document = {
        "written_by": "refsr",
        "stage": stage,
        "files": dict(_counts(folder)),
        "checksums": {name: own_files.checksum(folder / name) for name in names},
    }
    text = json.dumps(own_files.seal(document), sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def require_whole(path: Path) -> None:
    """Check that a file of an output, or all files of an output folder, have their checksums.

    Nothing is checked without a marker, or with one without checksums; missing files are not
    checked either.

    Raises:
        RefsrError: A file differs; the message names it and the stage to run again.
    """
    folder = path if (path / MARKER).is_file() else path.parent
    document = read(folder) or {}
    checksums = document.get("checksums")
    if not isinstance(checksums, dict):
        return
    names = checksums if folder == path else [path.name]
    present = [name for name in names if name in checksums and os.path.lexists(folder / name)]
    with cached(own_files.checksum, folder) as digest:
        for name in present:
            if not own_files.is_whole(folder / name, checksums[name], digest):
                reason = f"its checksum is not the one in {MARKER}"
                raise own_files.damaged(folder / name, document["stage"], reason)


def checksums(folder: Path) -> dict[str, own_files.Checksum]:
    """The checksum of each file that the marker of a folder names; empty without a marker."""
    known = (read(folder) or {}).get("checksums")
    return known if isinstance(known, dict) else {}


def require_own(path: Path, stage: str) -> None:
    """Check that `path` is missing, empty, or an output of `stage`, which may replace it.

    Raises:
        RefsrError: It is anything else; the message says what, and what to do.
    """
    way_out = "delete it yourself if it is not needed, or name another folder"
    if _is_empty(path):
        return
    if not path.is_dir():
        raise RefsrError(f"{path}: is a file, and `{stage}` writes a folder; {way_out}")
    document = read(path)
    if document is None:
        raise RefsrError(
            f"{path}: exists, and has no marker ({MARKER}) of a run of `{stage}`; {way_out}",
        )
    if document["stage"] != stage:
        raise RefsrError(f"{path}: written by `{document['stage']}`, not by `{stage}`; {way_out}")
    for name, count in _counts(path):
        if count > document["files"].get(name, 0):
            what = f"holds files that `{stage}` did not write"
            raise RefsrError(f"{path / name}: {what}; move them, or name another folder")


def _is_empty(path: Path) -> bool:
    """Whether `path` is an empty folder or file, or does not exist."""
    if path.is_dir():
        with os.scandir(path) as entries:
            return next(entries, None) is None
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def is_own(path: Path, stage: str) -> bool:
    """Whether `stage` may replace what is at `path`; see `require_own`."""
    try:
        require_own(path, stage)
    except RefsrError:
        return False
    return True


def read(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's marker; None where there is no valid one."""
    try:
        document = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("written_by") != "refsr":
        return None
    if "checksums" in document and not own_files.is_sealed(document):
        return None
    has_stage = isinstance(document.get("stage"), str)
    has_files = isinstance(document.get("files"), dict)
    return document if has_stage and has_files else None


def _names(folder: Path) -> Iterator[str]:
    """Files relative to `folder`, except links, the marker and resume points."""
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [each for each in folders if each not in RESUME_POINTS]
            files = [each for each in files if each not in (MARKER, *RESUME_POINTS)]
        for path in (Path(root) / each for each in files):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(folder))


def _counts(folder: Path) -> Iterator[tuple[str, int]]:
    """(relative folder, number of files in it), except the marker and resume points."""
    for root, folders, files in os.walk(folder):
        name = os.path.relpath(root, folder)
        if name == ".":
            folders[:] = [each for each in folders if each not in RESUME_POINTS]
            files = [each for each in files if each not in (MARKER, *RESUME_POINTS)]
        folders.sort()
        links = [each for each in folders if (Path(root) / each).is_symlink()]
        count = len(files) + len(links)
        if count:
            yield name, count
