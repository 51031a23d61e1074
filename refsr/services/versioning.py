"""What code and which data a run used: git's revision, and the content hash DVC keeps for an output."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import yaml


def file_hash(path: Path) -> str:
    """The sha256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_hash(path: Path) -> str | None:
    """The md5 DVC holds for the output `path`, from its `.dvc` file or the nearest `dvc.lock` above; None if unknown.

    It is what DVC last recorded: a stage run by hand, without `dvc repro`, is not noticed.
    """
    path = path.absolute()
    for record in [path.with_name(path.name + ".dvc"), *(folder / "dvc.lock" for folder in path.parents)]:
        if record.is_file():
            found = [out["md5"] for out in _outs(record) if out.get("md5") and record.parent / out["path"] == path]
            return found[0] if found else None
    return None


def _outs(record: Path) -> list[dict[str, str]]:
    """The outputs a `.dvc` file or a `dvc.lock` lists; none where it cannot be read (DVC itself complains of that)."""
    try:
        document = yaml.safe_load(record.read_text(encoding="utf-8")) or {}
        holders = [document, *(document.get("stages") or {}).values()]
        return [out for holder in holders for out in holder.get("outs", [])]
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        return []


def git_revision(folder: Path = Path(__file__).parent) -> tuple[str | None, bool]:
    """(commit, whether tracked files differ from it) of the checkout that holds `folder`, by default this package.

    An image is no checkout, and says in REFSR_REVISION which commit it was built from. (None, False) where there is
    neither, or no commit yet.
    """
    if built_from := os.environ.get("REFSR_REVISION"):
        return built_from, False
    git = shutil.which("git")
    if git is None:
        return None, False
    command = [git, "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None, False
    lines = answer.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), "(initial)")
    return (None, False) if commit == "(initial)" else (commit, any(not line.startswith("#") for line in lines))
