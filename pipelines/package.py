"""A run in the making: the compiled package, which holds no parameter, and the arguments, which hold them all."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from kfp.compiler import Compiler

from pipelines.resources import Cluster
from pipelines.training import training
from refsr.config import SECTIONS, load_section
from refsr.errors import RefsrError
from refsr.services.versioning import git_revision


def compile_package(package: Path, image: str, cluster: Cluster, rendered: bool) -> None:
    """Write the pipeline as KFP's YAML; the same image and cluster give the same bytes."""
    package.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(training(image, cluster, rendered), str(package))


def arguments(params: Path, tracking_uri: str, raw: str | None) -> dict[str, Any]:
    """What a run is given: each section with its defaults filled in. Raises RefsrError naming the key at fault."""
    sections = {name: load_section(params, name).model_dump(mode="json") for name in SECTIONS}
    return {"tracking_uri": tracking_uri, "raw": raw or ""} | sections


def is_rendered(params: Path, raw: str | None) -> bool:
    """Whether the run renders its raw set: it is given none, and the params file says what to render."""
    if raw:
        return False
    if "synthesize" not in (yaml.safe_load(params.read_text(encoding="utf-8")) or {}):
        raise RefsrError(f"{params}: no section `synthesize`, so nothing is rendered: name the raw set with --raw URI")
    return True


def immutable_image(name: str) -> str:
    """`name`, with the git revision as its tag unless it has one.

    What Kubeflow caches hangs on the image's name, not on its content: a tag must never come to mean other code.
    """
    if re.search(r"@sha256:[0-9a-f]{64}$", name):
        return name
    tag = name.rpartition("/")[2].partition(":")[2]
    if tag == "latest":
        raise RefsrError(f"--image {name}: `latest` means another image every day; name a tag that stays, or none")
    if tag:
        return name
    commit, dirty = git_revision()
    if commit is None or dirty:
        why = "this is no git checkout with a commit" if commit is None else "files differ from the last commit"
        raise RefsrError(f"--image {name}: {why}, so no revision names the image; commit, or name a tag: {name}:TAG")
    return f"{name}:{commit}"


def reachable_from_a_cluster(tracking_uri: str, raw: str | None) -> None:
    """Raises RefsrError where a pod could not reach the MLflow store or the raw set, or a URI would give away a secret.

    Arguments of a run are readable for all who see the run.
    """
    store = urlsplit(tracking_uri)
    if store.scheme not in ("http", "https"):
        raise RefsrError(f"--tracking-uri {tracking_uri}: not http(s)://...; pods can reach an MLflow server only")
    if store.username or store.password:
        raise RefsrError("--tracking-uri: holds a user or password; keep them in a Secret (docs/how-to/kubeflow.md)")
    if raw and urlsplit(raw).scheme not in ("s3", "minio", "gs"):
        raise RefsrError(f"--raw {raw}: not s3://, minio:// or gs://; pods cannot read folders of this machine")
