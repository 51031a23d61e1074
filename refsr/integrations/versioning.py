"""The revision of the code and the hashes of the data that a run used, and data by revision."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from refsr.errors import RefsrError
from refsr.integrations.dvc_lock import busy
from refsr.io.files import file_hash
from refsr.redaction import remember

if TYPE_CHECKING:
    from refsr.side_config import Fetch

# `make push` writes the pushed image's name to k8s/image, which is no part of an image.
_PATHS = ("--", ":/", ":(exclude,top)k8s/image")
_STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", *_PATHS)
_PACKAGE = Path(__file__).parent


class Fetched(NamedTuple):
    """The data of a revision: its commit, and the md5 that DVC keeps for the data there."""

    commit: str
    md5: str


def data_hash(path: Path) -> str | None:
    """The md5 that DVC last recorded for an output; None if there is none.

    It is read from the output's `.dvc` file or from the nearest `dvc.lock` above it. A stage that
    was run without `dvc repro` does not change it.
    """
    path = path.absolute()
    locks = [folder / "dvc.lock" for folder in path.parents]
    for record in [path.with_name(path.name + ".dvc"), *locks]:
        if record.is_file():
            return _recorded_hash(record, path)
    return None


def _recorded_hash(record: Path, path: Path) -> str | None:
    for out in _outs(record):
        if out.get("md5") and record.parent / out["path"] == path:
            return out["md5"]
    return None


def _outs(record: Path) -> list[dict[str, str]]:
    """The outputs in a `.dvc` file or a `dvc.lock`; none if it is damaged, which DVC reports."""
    try:
        document = yaml.safe_load(record.read_text(encoding="utf-8")) or {}
        holders = [document, *(document.get("stages") or {}).values()]
        return [out for holder in holders for out in holder.get("outs", [])]
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        return []


def fetch_data(source: "Fetch", target: Path) -> Fetched:
    """Copy data that DVC tracks in a revision of a repository from its remote to a new path.

    S3 credentials come from the environment (AWS_ACCESS_KEY_ID, ...).

    Raises:
        RefsrError: The repository, the revision, the path or the remote cannot be read.
    """
    for uri in (source.repository, source.endpoint or ""):
        remember(uri)
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    from dvc.lock import LockError

    try:
        return _fetch(source, target)
    except LockError as error:
        folder = Path(source.repository.removeprefix("file://"))
        reason = busy(folder) or " ".join(str(error).split())
        raise RefsrError(f"fetch: {source.repository}: DVC is locked there: {reason}") from error
    except Exception as error:  # DVC, git and S3 raise errors of any type
        raise RefsrError(
            f"fetch: {source.path} of {source.repository} at {source.revision}: "
            f"{_innermost(error)}; check the section `fetch`, that `dvc push` was run for that "
            "revision, and the credentials (AWS_ACCESS_KEY_ID, ...)"
        ) from error


def _fetch(source: "Fetch", target: Path) -> Fetched:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(
        source.repository,
        source.revision,
        remote=source.remote,
        remote_config={"endpointurl": source.endpoint} if source.endpoint else None,
    )
    with files.repo:
        md5 = _tracked(files, source.path)
        files.get(source.path, str(target), recursive=True)
        return Fetched(files.repo.get_rev(), md5)


def _tracked(files: Any, path: str) -> str:
    """The md5 that DVC keeps for a path."""
    try:
        return str(files.info(path)["dvc_info"]["md5"])
    except (FileNotFoundError, KeyError):
        raise FileNotFoundError("DVC tracks nothing there") from None


def _innermost(error: BaseException) -> str:
    """The message of the first error in a chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def data_revision(curated: Path) -> str:
    """What identifies a curated set: the hash that DVC keeps of it, or else of its manifest.

    On a cluster DVC keeps none. "unknown" where there is no manifest either.
    """
    manifest = curated / "manifest.parquet"
    if not manifest.is_file():
        return data_hash(curated) or "unknown"
    return data_hash(curated) or f"manifest-{file_hash(manifest)[:24]}"


def git_revision(folder: Path = _PACKAGE) -> tuple[str | None, bool]:
    """The commit of the checkout that contains `folder`, and whether tracked files differ from it.

    An image is not a checkout; its variable REFSR_REVISION holds the commit it was built from.
    (None, False) if there is neither, or no commit yet.
    """
    if built_from := os.environ.get("REFSR_REVISION"):
        return built_from, False
    lines = _git_status(folder)
    heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
    if not heads or heads[0] == "(initial)":
        return None, False
    return heads[0], any(not line.startswith("#") for line in lines)


def _git_status(folder: Path) -> list[str]:
    """The lines of `git status`; none without git or outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return []
    command = [git, "-C", str(folder), *_STATUS]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
