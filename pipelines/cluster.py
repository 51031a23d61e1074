"""The cluster file: YAML with the fields of `Cluster`. Defaults are for VGGFace2 on one GPU.

A file overrides only the fields that it sets, also within a task. It names Secrets and holds none.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipelines.cluster_types import (
    Bytes,
    Cpu,
    Gpus,
    LabelKey,
    LabelValue,
    Minutes,
    MountPath,
    Name,
    Page,
    Resource,
    Retries,
    SecretKey,
    Shards,
    UserId,
    Variable,
)
from refsr.config import Section
from refsr.errors import RefsrError
from refsr.parameter_types import Positive
from refsr.redaction import shown
from refsr.strict_yaml import read_yaml

ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "False"}


class Toleration(Section):
    """A taint that a pod tolerates."""

    key: LabelKey
    operator: Literal["Exists", "Equal"] = "Exists"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _check_value(self) -> "Toleration":
        if self.value and self.operator == "Exists":
            raise ValueError("a value only with `operator: Equal`")
        return self


class Placement(Section):
    """The nodes that pods may run on."""

    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)


class Gpu(Placement):
    """The extended resource of a GPU and its nodes; it affects only tasks that request a GPU."""

    resource: Resource = "nvidia.com/gpu"
    tolerations: list[Toleration] = Field(
        default_factory=lambda: [Toleration(key="nvidia.com/gpu")]
    )


class Secret(Section):
    """A Kubernetes Secret in the run's namespace, and its keys as environment variables."""

    name: Name
    env: Annotated[dict[SecretKey, Variable], Field(min_length=1)]  # key: variable
    tasks: Annotated[list[str], Field(min_length=1)] | None = None  # those that get it; absent: all


class Target(Section):
    """The target of runs. Options and environment variables override it (pipelines.connection)."""

    endpoint: str | None = None
    namespace: str | None = None
    tracking_uri: str | None = None
    image: str | None = None
    require_digest: bool = False  # refuse an image whose digest is not known
    ui: Page | None = None  # for links


class State(Section):
    """A volume claim in the run's namespace: a retried curation or training resumes from it.

    A training on several nodes needs ReadWriteMany, since all nodes mount it.
    """

    claim: Name
    path: MountPath = "/state"


class User(Section):
    """User and group of the containers; the image's own are these too."""

    user: UserId = 10001
    group: UserId = 10001


class Task(Section):
    """Resources of a task, or of each node. Requests equal limits: such pods are evicted last."""

    cpu: Cpu = "1"
    memory: Bytes = "2Gi"
    gpus: Gpus = 0
    shm: Bytes | None = None  # /dev/shm, in memory: part of `memory`
    nodes: Positive = 1  # more than one: a training by Kubeflow Trainer
    timeout_minutes: Minutes = 60
    retries: Retries = 2
    cache: bool = True


class Cluster(Section):
    """The target, the settings that all tasks share, and every task, `finish` included."""

    target: Target = Target()
    everywhere: Placement = Placement()
    gpu: Gpu = Gpu()
    secrets: list[Secret] = Field(default_factory=list)
    state: State | None = None
    run_as: User | None = User()  # null: for a server older than 2.17, which does not know it
    curate_shards: Shards = 1  # tasks, each for one part of the raw set
    evaluate_shards: Shards = 1  # tasks, each for one part of the people
    tasks: dict[str, Task]

    def secrets_of(self, task: str) -> dict[str, tuple[str, str]]:
        """Variable: (Secret, key) of a task. A Secret that names its tasks goes before others."""
        named = [each for each in self.secrets if each.tasks and task in each.tasks]
        shared = [each for each in self.secrets if each.tasks is None]
        return {
            variable: (secret.name, key)
            for secret in (*shared, *named)
            for key, variable in secret.env.items()
        }

    @model_validator(mode="after")
    def _check_secrets(self) -> "Cluster":
        for secret in self.secrets:
            for name in secret.tasks or []:
                if name not in TASKS:
                    known = ", ".join(TASKS)
                    raise ValueError(
                        f"secrets: {secret.name}: tasks: unknown task {name}; tasks are: {known}"
                    )
        for task in (None, *TASKS):
            self._check_variables(task)
        return self

    def _check_variables(self, task: str | None) -> None:
        """Raises ValueError where two Secrets of one task, or of all tasks, set one variable."""
        given = [
            each for each in self.secrets if (task in each.tasks if each.tasks else task is None)
        ]
        names = [name for each in given for name in each.env.values()]
        if twice := [name for name in names if names.count(name) > 1]:
            where = ", ".join(dict.fromkeys(each.name for each in given))
            raise ValueError(f"secrets: {twice[0]} is set twice, by {where}; remove one")

    @model_validator(mode="after")
    def _check_nodes(self) -> "Cluster":
        several = [name for name, task in self.tasks.items() if task.nodes > 1]
        for name in several:
            if name not in TRAININGS:
                trainings = " and ".join(TRAININGS)
                raise ValueError(f"tasks.{name}.nodes: only {trainings} run on several nodes")
            if self.state is None:
                raise ValueError(
                    f"tasks.{name}.nodes: several nodes need a volume: add `state: {{claim: NAME}}`"
                )
        return self


TRAININGS = ("train_sisr", "train_refsr")
RESUMABLE = ("curate", "merge", *TRAININGS)  # a retry resumes from the volume `state`
_TRAINING = {
    "cpu": "8",
    "memory": "32Gi",
    "gpus": 1,
    "shm": "4Gi",
    "timeout_minutes": 2880,
}
_EVALUATION = {"cpu": "4", "memory": "16Gi", "gpus": 1, "timeout_minutes": 240}
TASKS: dict[str, dict[str, Any]] = {
    "synthesize": {"cpu": "4", "memory": "4Gi"},
    "fetch": {"cpu": "2", "memory": "4Gi", "timeout_minutes": 720},
    "curate": {"cpu": "8", "memory": "16Gi", "timeout_minutes": 720},
    "merge": {"cpu": "8", "memory": "16Gi", "timeout_minutes": 720},
    "validate": {"cpu": "2", "memory": "8Gi"},
    "train_sisr": dict(_TRAINING),
    "train_refsr": dict(_TRAINING),
    "evaluate": dict(_EVALUATION),
    "merge_evaluation": dict(_EVALUATION),
    # The gate depends on the current champion, which is not part of the cache key.
    "register": {"cpu": "2", "memory": "4Gi", "cache": False},
    "checkpoint": {"cache": False},  # an alias can move
    "upscale_folder": {"cpu": "4", "memory": "8Gi", "timeout_minutes": 720},
    "drift": {"cpu": "2", "memory": "4Gi", "cache": False},  # logs grow
    "finish": {"cache": False, "timeout_minutes": 10},
}


def load_cluster(path: Path | None = None) -> Cluster:
    """The defaults, overridden by the file at `path`. Raises RefsrError naming file and key."""
    changes = _read(path) if path else {}
    tasks = changes.get("tasks", {})
    for name, changed in tasks.items():
        if name not in TASKS:
            raise RefsrError(f"{path}: tasks.{name}: unknown task; tasks are: {', '.join(TASKS)}")
        if not isinstance(changed, dict):
            raise RefsrError(f"{path}: tasks.{name}: must be a mapping, not {shown(changed, name)}")
    merged = {name: default | tasks.get(name, {}) for name, default in TASKS.items()}
    try:
        return Cluster.model_validate(changes | {"tasks": merged})
    except ValidationError as error:
        lines = [f"{path}: {_message(fault)}" for fault in error.errors()]
        raise RefsrError("\n".join(lines)) from error


def _message(fault: Any) -> str:
    """The message of a pydantic error; those of `Cluster` itself name their keys."""
    is_own = fault["type"] == "value_error"
    expected = str(fault["ctx"]["error"]) if is_own else fault["msg"]
    if not fault["loc"]:
        return expected
    keys = ".".join(map(str, fault["loc"]))
    return f"{keys}: {expected}, not {shown(fault['input'], *fault['loc'])}"


def _read(path: Path) -> dict[str, Any]:
    try:
        document = read_yaml(path) or {}
    except OSError as error:
        raise RefsrError(f"{path}: the cluster file cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RefsrError(f"{path}: must be a mapping; see docs/how-to/kubeflow.md")
    if not isinstance(document.get("tasks", {}), dict):
        raise RefsrError(f"{path}: tasks: must be a mapping; see docs/how-to/kubeflow.md")
    return document
