"""What code and which data a run used: git's revision, the content hash DVC keeps, and data fetched by its revision."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from refsr.errors import RefsrError
from refsr.integrations.dvc_lock import busy
from refsr.redaction import remember

if TYPE_CHECKING:
    from refsr.config import Fetch


class Fetched(NamedTuple):
    """The bytes a revision named: the commit it stands for, and the md5 DVC keeps for them there."""

    commit: str
    md5: str


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


def fetch_data(wanted: "Fetch", target: Path) -> Fetched:
    """Copy what DVC tracks at `wanted.path` in a repository's revision from its remote to `target`, a new path.

    S3 credentials are those of the environment (AWS_ACCESS_KEY_ID, ...). Raises RefsrError where the repository, the
    revision, the path or the remote cannot be had.
    """
    for uri in (wanted.repository, wanted.endpoint or ""):
        remember(uri)
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    from dvc.api import DVCFileSystem
    from dvc.lock import LockError

    remote = {"endpointurl": wanted.endpoint} if wanted.endpoint else None
    try:
        source = DVCFileSystem(wanted.repository, wanted.revision, remote=wanted.remote, remote_config=remote)
        with source.repo:
            md5 = _tracked(source, wanted.path)
            source.get(wanted.path, str(target), recursive=True)
            return Fetched(source.repo.get_rev(), md5)
    except LockError as error:
        reason = busy(Path(wanted.repository.removeprefix("file://"))) or " ".join(str(error).split())
        raise RefsrError(f"fetch: {wanted.repository}: DVC is locked there: {reason}") from error
    except Exception as error:  # DVC, git and S3 raise what they like
        raise RefsrError(
            f"fetch: {wanted.path} of {wanted.repository} at {wanted.revision}: {_innermost(error)}; check the "
            "section `fetch`, that `dvc push` was run for that revision, and the credentials (AWS_ACCESS_KEY_ID, ...)"
        ) from error


def _tracked(source: Any, path: str) -> str:
    """The md5 DVC keeps for a path."""
    try:
        return str(source.info(path)["dvc_info"]["md5"])
    except (FileNotFoundError, KeyError):
        raise FileNotFoundError("DVC tracks nothing there") from None


def _innermost(error: BaseException) -> str:
    """The message of what went wrong first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


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
