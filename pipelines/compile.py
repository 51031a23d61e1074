"""Compile a run: the package, and the arguments, which hold every parameter."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.cluster import TRAININGS, Cluster, Task
from pipelines.graphs.drift import drift
from pipelines.graphs.inference import inference
from pipelines.graphs.raw_set import Source
from pipelines.graphs.reevaluation import reevaluation
from pipelines.graphs.training import training
from pipelines.limits import require_exact
from refsr.config import Training
from refsr.errors import RefsrError
from refsr.integrations.versioning import git_revision
from refsr.io.atomic import write_file
from refsr.io.output import check_file
from refsr.io.paths import file_errors_as_messages
from refsr.io.servers import is_server, is_url
from refsr.layouts.registry import check
from refsr.params import load_data, load_section, section_names
from refsr.redaction import hide, holds_secret
from refsr.side_config import KNOWN, Fetch

GRAPHS = ("training", "search", "reevaluation", "inference", "drift")
SCHEMES = {  # of URIs that pods can read, by option
    "raw": ("s3",),  # the stage reads it without Kubeflow
    "sisr": ("s3", "minio", "gs"),
    "pairs": ("s3", "minio", "gs"),
    "logs": ("s3", "minio", "gs"),
    "curated": ("s3", "minio", "gs"),
}

_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"  # a part of an image's name
_IMAGE = re.compile(  # [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST], as container engines read it
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PATH}(?:/{_PATH})*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_BUCKET = re.compile(r"[\w.-]{1,255}", re.ASCII)  # as boto3 takes it
_NEEDED = {  # by graph, what its options name
    "inference": {"pairs": "a folder with small/NAME.png and ref/NAME.png"},
    "drift": {
        "logs": "a folder with log files of the service",
        "curated": "the artifact `curated` of the training",
    },
}


class Work(NamedTuple):
    """What to run: a graph, its params file, and the URIs of its inputs."""

    params: Path
    graph: str = "training"
    raw: str | None = None  # training, reevaluation: the raw set
    sisr: str | None = None  # reevaluation: an output of `train_sisr`
    pairs: str | None = None  # inference: folder of small faces and references
    logs: str | None = None  # drift: folder of the service's log files
    curated: str | None = None  # drift: the curated set of the training

    def uris(self) -> dict[str, str]:
        """The URIs that are set."""
        return {name: uri for name in SCHEMES if (uri := getattr(self, name))}


def build(work: Work, image: str, cluster: Cluster) -> Any:
    """The pipeline of some work.

    Raises RefsrError if the params file or the URIs lack something that the graph needs.
    """
    if work.graph in _NEEDED:
        _require_inputs(work)
        return (inference if work.graph == "inference" else drift)(image, cluster)
    source = source_of(work.params, work.raw)
    if source == "fetched":
        cluster = _for_fetch(cluster, work.params)
    if work.graph == "reevaluation":
        return reevaluation(image, cluster, source, with_sisr=bool(work.sisr))
    for name in TRAININGS:
        _check_batches(work.params, name, cluster.tasks[name])
    return training(image, cluster, source, with_register=work.graph == "training")


def without_cache(cluster: Cluster, stage: str) -> Cluster:
    """The cluster with no cache for a stage."""
    task = cluster.tasks[stage].model_copy(update={"cache": False})
    return cluster.model_copy(update={"tasks": cluster.tasks | {stage: task}})


def _require_inputs(work: Work) -> None:
    """Raises RefsrError where the graph lacks the URI of an input."""
    for name, text in _NEEDED[work.graph].items():
        if not getattr(work, name):
            raise RefsrError(
                f"--{name} is required by --graph {work.graph}: pass the URI of {text}"
            )


def _check_batches(params: Path, name: str, task: Task) -> None:
    """Raises RefsrError if the processes of several nodes cannot share a batch evenly."""
    if task.nodes == 1:
        return
    each = task.gpus or 1
    processes = task.nodes * each
    section = cast(Training, load_section(params, name))
    size, shares = section.batch_size, processes * section.accumulate
    if size % shares:
        larger = -(-size // shares) * shares
        raise RefsrError(
            f"{params}: {name}.batch_size: {size} cannot be shared by the {processes} processes "
            f"of tasks.{name} in the cluster file (nodes: {task.nodes}, {each} on each); "
            f"set {name}.batch_size to {larger}, or other nodes or gpus"
        )


def _for_fetch(cluster: Cluster, params: Path) -> Cluster:
    """Cache `fetch` only for a full commit hash: a branch or a tag can move."""
    revision = cast(Fetch, load_section(params, "fetch")).revision
    is_commit = re.fullmatch(r"[0-9a-f]{40}", revision) is not None
    return cluster if is_commit else without_cache(cluster, "fetch")


def compile_package(
    package: Path,
    pipeline: Any,
    version: str = "",
    namespace: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Write a pipeline as KFP's YAML; the same arguments give the same bytes.

    Args:
        package: file to write, *.yaml.
        pipeline: a pipeline of pipelines.graphs.
        version: if set, write Kubernetes objects (Pipeline, PipelineVersion) for a GitOps
            repository.
        namespace: namespace of those objects.
        defaults: default values of its inputs, so that a person can start it from the UI.

    Raises:
        RefsrError: if the file has another suffix, or exists and is not a package; or if a default
            is a password, which the package would show.
    """
    for name, value in (defaults or {}).items():
        if isinstance(value, str) and holds_secret(value):
            raise RefsrError(
                f"--{name.replace('_', '-')} {hide(value)}: a package would show its password; "
                "leave it out, and give it when a run is started"
            )
    if package.suffix not in (".yaml", ".yml"):
        raise RefsrError(f"--output {package}: a package is a .yaml file; pass such a name")
    check_file(package, (), _is_package)
    options = _manifest_options(pipeline.name, version, namespace) if version else {}
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "package.yaml"
        Compiler().compile(pipeline, str(compiled), pipeline_parameters=defaults, **options)
        # A comment repeats the defaults, the keys in an order that changes with each process.
        data = re.sub(rb"(?m)^(# .*: dict) \[Default: .*\]$", rb"\1", compiled.read_bytes())
    with file_errors_as_messages():
        package.parent.mkdir(parents=True, exist_ok=True)
        write_file(package, lambda partial: partial.write_bytes(data))


def _manifest_options(name: str, version: str, namespace: str | None) -> dict[str, Any]:
    options = KubernetesManifestOptions(
        pipeline_name=name,
        pipeline_version_name=object_name(f"{name}-{version}"),
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    return {"kubernetes_manifest_format": True, "kubernetes_manifest_options": options}


def _is_package(path: Path) -> bool:
    """Whether a file is a compiled pipeline, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(1000)
    is_pipeline = start.startswith(b"# PIPELINE DEFINITION")
    return is_pipeline or b"apiVersion: pipelines.kubeflow.org/" in start


def object_name(text: str) -> str:
    """`text` as a Kubernetes name: at most 63 characters of a-z, 0-9 and -."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:63].strip("-")


def arguments(pipeline: Any, work: Work, tracking_uri: str) -> dict[str, Any]:
    """The arguments of a run: URIs, the layout, and each section with its defaults.

    Raises RefsrError naming the key at fault, also in sections that the graph does not read.
    """
    uris = dict.fromkeys(SCHEMES, "") | work.uris() | {"tracking_uri": tracking_uri}
    layout = {"layout": check(load_data(work.params).layout)}
    values = uris | layout | {name: _section(work.params, name) for name in KNOWN}
    inputs = {name: values[name] for name in pipeline.component_spec.inputs}
    require_exact(work.params, inputs)
    return inputs


def _section(params: Path, name: str) -> dict[str, Any]:
    """A section as JSON without nulls, which kfp.local refuses; {} for an absent `fetch`."""
    if name == "fetch" and name not in section_names(params):
        return {}
    return load_section(params, name).model_dump(mode="json", exclude_none=True)


def source_of(params: Path, raw: str | None) -> Source:
    """The source of the raw set: the URI, else the section `fetch`, else `synthesize`."""
    if raw:
        return "named"
    sections = section_names(params)
    if "fetch" in sections:
        return "fetched"
    if "synthesize" in sections:
        return "rendered"
    raise RefsrError(
        f"{params}: no section `synthesize` or `fetch`: "
        "add one, or pass the URI of the raw set with --raw"
    )


def immutable_image(name: str) -> str:
    """`name` with the git revision as its tag, unless it has a tag or a digest.

    Kubeflow's cache knows an image by its name, not by its content, so a tag must never be moved.
    """
    if not _IMAGE.fullmatch(name):
        raise RefsrError(
            f"--image {name}: no name of an image; pass REGISTRY/NAME, NAME:TAG or "
            "NAME@sha256:DIGEST, the name in lower case"
        )
    if "@" in name:
        return name
    tag = name.rpartition("/")[2].partition(":")[2]
    if tag == "latest":
        raise RefsrError(
            f"--image {name}: `latest` moves to other images; pass a tag that does not, or no tag"
        )
    return name if tag else f"{name}:{_committed_revision(name)}"


def _committed_revision(name: str) -> str:
    """The git revision of this checkout. Raises RefsrError if files differ from it."""
    commit, dirty = git_revision()
    if commit is None:
        raise RefsrError(f"--image {name}: no git checkout with a commit; pass a tag: {name}:TAG")
    if dirty:
        raise RefsrError(
            f"--image {name}: files differ from the last commit; "
            f"commit them, or pass a tag: {name}:TAG"
        )
    return commit


def check_reachable(tracking_uri: str | None, uris: Mapping[str, str]) -> None:
    """Check that pods can reach the store and the inputs, and that no URI holds a secret.

    Everyone who sees a run sees its arguments.

    Raises:
        RefsrError: naming the option.
    """
    if tracking_uri is not None:
        _check_store(tracking_uri)
    for name, uri in uris.items():
        _check_uri(name, uri)


def _check_store(tracking_uri: str) -> None:
    if not is_server(tracking_uri):
        raise RefsrError(
            f"--tracking-uri {tracking_uri}: not an http(s)://HOST:PORT URL without ? and #; "
            "pods need the URL of an MLflow server"
        )
    store = urlsplit(tracking_uri)
    if store.username or store.password or holds_secret(tracking_uri):
        raise RefsrError(
            "--tracking-uri: holds a user or a password; "
            "store them in a Secret (docs/how-to/kubeflow.md)"
        )


def _check_uri(name: str, uri: str) -> None:
    if holds_secret(uri):
        raise RefsrError(
            f"--{name}: holds a password; store it in a Secret (docs/how-to/kubeflow.md)"
        )
    if not is_url(uri, *SCHEMES[name]) or not _BUCKET.fullmatch(urlsplit(uri).netloc):
        expected = " or ".join(f"{scheme}://BUCKET" for scheme in SCHEMES[name])
        raise RefsrError(
            f"--{name} {uri}: not {expected}; pods cannot read folders of this machine"
        )
