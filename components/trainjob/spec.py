"""The spec of a TrainJob: a training on several nodes, run by Kubeflow Trainer 2.3 or later.

Trainer before 2.2 calls the field `runtimePatches` `podTemplateOverrides`. A training on one node
needs no TrainJob: it is an ordinary task.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

RUNTIME = "torch-distributed"  # runtime for PyTorch, installed with Kubeflow Trainer
NODE = "node"  # name of that runtime's job and of its container
ENTRYPOINT = ["torchrun", "-m", "components.trainjob.entrypoint"]
SHM = "/dev/shm"  # noqa: S108 - in the pod
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class NodeSettings(NamedTuple):
    """The settings of a TrainJob; resources and volumes are per node."""

    image: str
    nodes: int
    processes: int  # per node
    resources: Mapping[str, str]  # Kubernetes quantities; requests and limits are equal
    timeout_seconds: int
    environment: Mapping[str, str]
    secrets: Mapping[str, tuple[str, str]]  # variable: (name of the Secret, key in it)
    claim: str  # volume claim that all nodes mount
    mount_path: str
    shm: str | None  # size of /dev/shm
    user: tuple[int, int] | None  # user and group; None: those of the image
    node_selector: Mapping[str, str]
    tolerations: list[dict[str, Any]]


def trainjob(settings: NodeSettings) -> dict[str, Any]:
    """The TrainJob as a Kubernetes object, without the fields that belong to a run.

    components.trainjob.controller adds its name, its namespace and the argument of its command.
    torchrun assigns the ranks. The job ends by itself at the time limit of its task.
    """
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": RUNTIME,
            },
            "trainer": _trainer(settings),
            "runtimePatches": [_patch(settings)],
            "activeDeadlineSeconds": settings.timeout_seconds,
        },
    }


def _trainer(settings: NodeSettings) -> dict[str, Any]:
    resources = dict(settings.resources)
    return {
        "image": settings.image,
        "command": ENTRYPOINT,
        "numNodes": settings.nodes,
        "numProcPerNode": settings.processes,
        "resourcesPerNode": {"requests": resources, "limits": resources},
        "env": _variables(settings),
    }


def _variables(settings: NodeSettings) -> list[dict[str, Any]]:
    plain = [{"name": key, "value": value} for key, value in settings.environment.items()]
    secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, (name, key) in settings.secrets.items()
    ]
    return [*plain, *secret]


def _patch(settings: NodeSettings) -> dict[str, Any]:
    """The change to the runtime: volumes and placement of the pods of every node."""
    pod = {"template": {"spec": {"template": {"spec": _pod(settings)}}}}
    template = {"spec": {"replicatedJobs": [{"name": NODE} | pod]}}
    return {"manager": "refsr", "trainingRuntimeSpec": {"template": template}}


def _pod(settings: NodeSettings) -> dict[str, Any]:
    claim = {"claimName": settings.claim}
    volumes: list[dict[str, Any]] = [{"name": "state", "persistentVolumeClaim": claim}]
    volumes.append({"name": "tmp", "emptyDir": {}})
    mounts = [{"name": "state", "mountPath": settings.mount_path}]
    mounts.append({"name": "tmp", "mountPath": "/tmp"})  # noqa: S108 - in the pod
    if settings.shm:
        memory = {"medium": "Memory", "sizeLimit": settings.shm}
        volumes.append({"name": "shm", "emptyDir": memory})
        mounts.append({"name": "shm", "mountPath": SHM})
    return {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": settings.tolerations,
        "volumes": volumes,
        "securityContext": _security(settings),
        "containers": [{"name": NODE, "volumeMounts": mounts, "securityContext": RESTRICTED}],
    }


def _security(settings: NodeSettings) -> dict[str, Any]:
    """The pod's security context, as Pod Security `restricted` asks for it."""
    seccomp = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    if settings.user is None:
        return seccomp
    user, group = settings.user
    return seccomp | {"runAsUser": user, "runAsGroup": group}
