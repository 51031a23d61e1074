"""A run in the making: the compiled package, which holds no parameter, and the arguments, which hold them all."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.cluster import TRAININGS, Cluster
from pipelines.graphs.inference import inference
from pipelines.graphs.reevaluation import reevaluation
from pipelines.graphs.training import Source, training
from refsr.config import KNOWN, Fetch, Training
from refsr.errors import RefsrError
from refsr.integrations.versioning import git_revision
from refsr.io.atomic import write_file
from refsr.io.output import check_file
from refsr.io.paths import file_errors_as_messages
from refsr.layouts.registry import check
from refsr.params import load_data, load_section, section_names
from refsr.redaction import holds_secret

GRAPHS = ("training", "reevaluation", "inference")
URIS = ("raw", "sisr", "pairs")


class Work(NamedTuple):
    """What is to be run: a graph, its params file, and the URIs of what it is given."""

    params: Path
    graph: str = "training"
    raw: str | None = None  # training: the raw set
    sisr: str | None = None  # reevaluation: what `train_sisr` left
    pairs: str | None = None  # inference: the folder of small faces and references

    def uris(self) -> dict[str, str]:
        """The URIs there are."""
        return {name: uri for name in URIS if (uri := getattr(self, name))}


def build(work: Work, image: str, cluster: Cluster) -> Any:
    """The pipeline of some work. Raises RefsrError where the params file or the URIs lack what its graph needs.

    A branch or tag moves, so a fetch is taken from the cache only where the revision is a whole commit.
    """
    if work.graph == "inference":
        if not work.pairs:
            raise RefsrError("--pairs: the graph inference needs the URI of it")
        return inference(image, cluster)
    if work.graph == "reevaluation":
        load_section(work.params, "fetch")
        return reevaluation(image, _for_fetch(cluster, work.params), with_sisr=bool(work.sisr))
    source = source_of(work.params, work.raw)
    _require_shared_batches(cluster, work.params)
    return training(image, _for_fetch(cluster, work.params) if source == "fetched" else cluster, source)


def _require_shared_batches(cluster: Cluster, params: Path) -> None:
    """Raises RefsrError where the processes of a training on several nodes cannot share its batches evenly."""
    for name in TRAININGS:
        task = cluster.tasks[name]
        if task.nodes == 1:
            continue
        each = task.gpus or 1
        processes, size = task.nodes * each, cast(Training, load_section(params, name)).batch_size
        if size % processes:
            raise RefsrError(
                f"{params}: {name}.batch_size: {size} cannot be shared by the {processes} processes of tasks.{name} in "
                f"the cluster file (nodes: {task.nodes}, {each} on each); set {name}.batch_size to "
                f"{-(-size // processes) * processes}, or other nodes or gpus"
            )


def _for_fetch(cluster: Cluster, params: Path) -> Cluster:
    revision = cast(Fetch, load_section(params, "fetch")).revision
    pinned = re.fullmatch(r"[0-9a-f]{40}", revision) is not None
    fetch = cluster.tasks["fetch"]
    tasks = cluster.tasks | {"fetch": fetch.model_copy(update={"cache": fetch.cache and pinned})}
    return cluster.model_copy(update={"tasks": tasks})


def compile_package(package: Path, pipeline: Any, version: str = "", namespace: str | None = None) -> None:
    """Write a pipeline as KFP's YAML; the same image and cluster give the same bytes.

    With `version` it is written as Kubernetes objects instead, Pipeline and PipelineVersion, for a GitOps repository.
    """
    if package.suffix not in (".yaml", ".yml"):
        raise RefsrError(f"{package}: the name of a package ends in .yaml; name another --output")
    check_file(package, {}, _is_package)
    options: dict[str, Any] = {}
    if version:
        options["kubernetes_manifest_format"] = True
        options["kubernetes_manifest_options"] = KubernetesManifestOptions(
            pipeline_name=pipeline.name,
            pipeline_version_name=object_name(f"{pipeline.name}-{version}"),
            namespace=namespace,
            include_pipeline_manifest=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "package.yaml"
        Compiler().compile(pipeline, str(made), **options)
        data = made.read_bytes()
    with file_errors_as_messages():
        package.parent.mkdir(parents=True, exist_ok=True)
        write_file(package, lambda partial: partial.write_bytes(data))


def _is_package(path: Path) -> bool:
    """Whether a file is a compiled pipeline, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(1000)
    return start.startswith(b"# PIPELINE DEFINITION") or b"apiVersion: pipelines.kubeflow.org/" in start


def object_name(text: str) -> str:
    """`text` as Kubernetes takes it for a name: at most 63 of a-z, 0-9 and -."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-")


def arguments(pipeline: Any, work: Work, tracking_uri: str) -> dict[str, Any]:
    """What a run is given: each section with its defaults filled in. Raises RefsrError naming the key at fault."""
    given = dict.fromkeys(URIS, "") | work.uris() | {"tracking_uri": tracking_uri}
    given["layout"] = check(load_data(work.params).layout)
    sections = {name: _section(work.params, name) for name in KNOWN}  # all are looked at, whatever the graph takes
    return {name: (given | sections)[name] for name in pipeline.component_spec.inputs}


def _section(params: Path, name: str) -> dict[str, Any]:
    """A section as JSON has it, without null, which kfp.local refuses; an empty one for a `fetch` the file has not."""
    if name == "fetch" and name not in _sections(params):
        return {}
    return load_section(params, name).model_dump(mode="json", exclude_none=True)


def source_of(params: Path, raw: str | None) -> Source:
    """Where the raw set comes from: the URI given, else the section `fetch`, else the section `synthesize`."""
    if raw:
        return "named"
    if "fetch" in _sections(params):
        return "fetched"
    if "synthesize" in _sections(params):
        return "rendered"
    raise RefsrError(f"{params}: no section `synthesize` or `fetch`: write one, or name the raw set with --raw URI")


def _sections(params: Path) -> set[str]:
    return section_names(params)


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


def reachable_from_a_cluster(tracking_uri: str, uris: Mapping[str, str]) -> None:
    """Raises RefsrError where a pod could not reach the store or what it is given, or a URI would give away a secret.

    Arguments of a run are readable for all who see the run.
    """
    store = urlsplit(tracking_uri)
    if store.scheme not in ("http", "https"):
        raise RefsrError(f"--tracking-uri {tracking_uri}: not http(s)://...; pods can reach an MLflow server only")
    if store.username or store.password or holds_secret(tracking_uri):
        raise RefsrError("--tracking-uri: holds a user or password; keep them in a Secret (docs/how-to/kubeflow.md)")
    for name, uri in uris.items():
        if holds_secret(uri):
            raise RefsrError(f"--{name}: holds a password; keep it in a Secret (docs/how-to/kubeflow.md)")
        known = ("s3",) if name == "raw" else ("s3", "minio", "gs")  # the raw set is read by the stage itself
        if urlsplit(uri).scheme not in known:
            told = " or ".join(f"{scheme}://" for scheme in known)
            raise RefsrError(f"--{name} {uri}: not {told}; pods cannot read folders of this machine")
