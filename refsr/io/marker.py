"""The file that says which stage wrote a folder: `.refsr.json` in it.

It holds the stage, how many files the stage left in each folder, and a checksum of each, so the same output has the
same marker. A folder without one, or with more files than it tells, holds something of the user's. A file that no
longer has its checksum is damaged, or was changed by hand.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.io import own_files

MARKER = ".refsr.json"
# Names in an output that a killed run goes on from: kept until it is in place, never part of it.
RESUME_POINTS = ("state.pt", "work.finished")


def is_marker(name: str) -> bool:
    """Whether a file in a folder, archive or bucket is a marker, by its name."""
    return name == MARKER or name.endswith(f"/{MARKER}")


def write(folder: Path, stage: str) -> None:
    """Mark a finished folder as written by `stage`."""
    (folder / MARKER).unlink(missing_ok=True)
    document = {"written_by": "refsr", "stage": stage, "files": dict(_counts(folder))}
    document["checksums"] = {name: own_files.checksum(folder / name) for name in sorted(_names(folder))}
    (folder / MARKER).write_text(json.dumps(own_files.seal(document), sort_keys=True) + "\n", encoding="utf-8")


def require_whole(path: Path) -> None:
    """Check that a file of an output, or all files of an output folder, are as their stage left them.

    What has no marker, or one without checksums, is not checked; nor is a file that is gone.

    Raises:
        RefsrError: A file differs; the text names it and the stage to run again.
    """
    folder = path if (path / MARKER).is_file() else path.parent
    document = read(folder) or {}
    checksums = document.get("checksums")
    if not isinstance(checksums, dict):
        return
    names = checksums if folder == path else [path.name]
    for name in names:
        file = folder / name
        if name in checksums and os.path.lexists(file) and not own_files.is_whole(file, checksums[name]):
            raise own_files.damaged(file, document["stage"], f"its checksum is not the one in {MARKER}")


def require_own(path: Path, stage: str) -> None:
    """Check that `stage` may replace what stands at `path`: nothing, something empty, or its own output.

    Raises:
        RefsrError: It is anything else; the text says what, and the way out.
    """
    way_out = "remove it yourself if it may go, or name another folder"
    if path.is_dir():
        with os.scandir(path) as entries:
            if next(entries, None) is None:
                return
    elif not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    else:
        raise RefsrError(f"{path}: a file stands there, and `{stage}` writes a folder; {way_out}")
    document = read(path)
    if document is None:
        raise RefsrError(f"{path}: exists, and no run of `{stage}` marked it as its own ({MARKER}); {way_out}")
    if document["stage"] != stage:
        raise RefsrError(f"{path}: written by `{document['stage']}`, not by `{stage}`; {way_out}")
    for name, count in _counts(path):
        if count > document["files"].get(name, 0):
            inside = path / name
            raise RefsrError(f"{inside}: holds files that `{stage}` did not write; move them, or name another folder")


def is_own(path: Path, stage: str) -> bool:
    """Whether `stage` may replace what stands at `path`; see `require_own`."""
    try:
        require_own(path, stage)
    except RefsrError:
        return False
    return True


def read(folder: Path) -> dict[str, Any] | None:
    """What the marker of a folder says; None where there is none of ours."""
    try:
        document = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("written_by") != "refsr":
        return None
    if "checksums" in document and not own_files.is_sealed(document):
        return None
    sound = isinstance(document.get("stage"), str) and isinstance(document.get("files"), dict)
    return document if sound else None


def _names(folder: Path) -> Iterator[str]:
    """The files that a stage left, relative to `folder`; not the links, the marker and the resume points."""
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [each for each in folders if each not in RESUME_POINTS]
            files = [each for each in files if each not in (MARKER, *RESUME_POINTS)]
        paths = [Path(root) / each for each in files]
        yield from (str(path.relative_to(folder)) for path in paths if path.is_file() and not path.is_symlink())


def _counts(folder: Path) -> Iterator[tuple[str, int]]:
    """(folder relative to `folder`, files in it) of each folder with files; marker and resume points do not count."""
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
