"""The cluster file: typed, with defaults for VGGFace2 on one GPU; the file changes what it names.

It is YAML with the fields of `Cluster`; a stage named under `tasks` changes only what it names. Secrets are named,
never held.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.parameter_types import Positive
from refsr.redaction import shown
from refsr.strict_yaml import read_yaml

Cpu = Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$")]  # cores, or thousandths as "500m"
Bytes = Annotated[str, Field(pattern=r"^\d+(Mi|Gi|Ti)$")]
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "False"}


class Toleration(Section):
    """A taint a pod puts up with."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Placement(Section):
    """Where pods may run."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)


class Gpu(Placement):
    """The extended resource a GPU is, and where those nodes are; for tasks that ask for one only."""

    resource: str = "nvidia.com/gpu"
    tolerations: list[Toleration] = Field(default_factory=lambda: [Toleration(key="nvidia.com/gpu")])


class Secret(Section):
    """A Kubernetes Secret that stands in the run's namespace, and which of its keys become which variables."""

    name: str
    env: dict[str, str]


class Target(Section):
    """Where the cluster is. What a flag or the environment says comes before it (see pipelines.connection)."""

    endpoint: str | None = None
    namespace: str | None = None
    tracking_uri: str | None = None
    image: str | None = "refsr"


class State(Section):
    """A volume claim of the run's namespace, on which curation and trainings keep what a retried pod goes on from.

    Several nodes mount it at once, so for them it has to be ReadWriteMany.
    """

    claim: str
    path: Annotated[str, Field(pattern="^/")] = "/state"


class Task(Section):
    """Requests are limits too, so that a pod is not the first to be evicted; with several nodes, those of each."""

    cpu: Cpu = "1"
    memory: Bytes = "2Gi"
    gpus: Annotated[int, Field(ge=0)] = 0
    shm: Bytes | None = None  # /dev/shm, in memory: part of `memory`
    nodes: Positive = 1  # more than one: a training, handed over to Kubeflow Trainer
    timeout_minutes: Positive = 60
    retries: Annotated[int, Field(ge=0)] = 2
    cache: bool = True


class Cluster(Section):
    """Where the cluster is, all tasks of the pipelines, `finish` among them, and what they share."""

    target: Target = Target()
    everywhere: Placement = Placement()
    gpu: Gpu = Gpu()
    secrets: list[Secret] = Field(default_factory=list)
    state: State | None = None
    curate_shards: Annotated[int, Field(ge=1)] = 1  # tasks that measure a part of the raw set each
    tasks: dict[str, Task]

    @model_validator(mode="after")
    def _require_what_several_nodes_need(self) -> "Cluster":
        for name, task in self.tasks.items():
            if task.nodes > 1 and name not in TRAININGS:
                raise ValueError(f"tasks.{name}.nodes: only {' and '.join(TRAININGS)} run on several nodes")
            if task.nodes > 1 and self.state is None:
                raise ValueError(f"tasks.{name}.nodes: several nodes need a volume: `state: {{claim: NAME}}`")
        return self


TRAININGS = ("train_sisr", "train_refsr")
RESUMABLE = ("curate", "merge", *TRAININGS)  # what they have done is kept on the volume of `state`
TASKS: dict[str, dict[str, Any]] = {
    "synthesize": {"cpu": "4", "memory": "4Gi"},
    "fetch": {"cpu": "2", "memory": "4Gi", "timeout_minutes": 720},
    "curate": {"cpu": "8", "memory": "16Gi", "timeout_minutes": 720},
    "merge": {"cpu": "8", "memory": "16Gi", "timeout_minutes": 720},
    "validate": {"cpu": "2", "memory": "8Gi"},
    "train_sisr": {"cpu": "8", "memory": "32Gi", "gpus": 1, "shm": "4Gi", "timeout_minutes": 2880},
    "train_refsr": {"cpu": "8", "memory": "32Gi", "gpus": 1, "shm": "4Gi", "timeout_minutes": 2880},
    "evaluate": {"cpu": "4", "memory": "16Gi", "gpus": 1, "timeout_minutes": 240},
    # Whether a model passes hangs on the champion of the day, which no cache key knows.
    "register": {"cpu": "2", "memory": "4Gi", "cache": False},
    "checkpoint": {"cache": False},  # an alias moves
    "upscale_folder": {"cpu": "4", "memory": "8Gi", "timeout_minutes": 720},
    "finish": {"cache": False, "timeout_minutes": 10},
}


def load_cluster(path: Path | None = None) -> Cluster:
    """The defaults, changed by the cluster file at `path`. Raises RefsrError naming the file and the key."""
    changes = _read(path) if path else {}
    tasks = changes.get("tasks", {})
    for name, changed in tasks.items():
        if name not in TASKS:
            raise RefsrError(f"{path}: tasks.{name}: unknown task; known are: {', '.join(TASKS)}")
        if not isinstance(changed, dict):
            raise RefsrError(f"{path}: tasks.{name}: a mapping is expected, not {shown(changed, name)}")
    merged = {name: default | tasks.get(name, {}) for name, default in TASKS.items()}
    try:
        return Cluster.model_validate(changes | {"tasks": merged})
    except ValidationError as error:
        raise RefsrError("\n".join(f"{path}: {_told(fault)}" for fault in error.errors())) from error


def _told(fault: Any) -> str:
    """A fault that pydantic found; one of `Cluster` itself names its keys."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, not {shown(fault['input'], *fault['loc'])}"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = read_yaml(path) or {}
    except OSError as error:
        raise RefsrError(f"{path}: the cluster file cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("tasks", {}), dict):
        raise RefsrError(f"{path}: a mapping is expected, and one under `tasks`; see docs/how-to/kubeflow.md")
    return document
