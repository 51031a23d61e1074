"""A training on several nodes, handed over to Kubeflow Trainer 2: its TrainJob, and the params file it reads.

One node needs none of this: there the stage is a task of the pipeline.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.resources import ENVIRONMENT, Cluster, State
from refsr import steps
from refsr.config import Section
from refsr.errors import RefsrError

RUNTIME = "torch-distributed"  # the runtime Kubeflow Trainer brings for PyTorch
PARAMS = PurePosixPath("/etc/refsr/params.yaml")
NODE = "node"  # what that runtime calls its job, and the container in it


class Nodes(Section):
    """Which training, on how many nodes, and where its paths lie on the volume of `state`."""

    stage: Literal["train_sisr", "train_refsr"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$")]
    nodes: Annotated[int, Field(ge=2)]
    paths: dict[str, str]


def trainjob(wanted: Nodes, params: str, image: str, tracking_uri: str, cluster: Cluster) -> list[dict[str, Any]]:
    """The ConfigMap that holds the text `params`, and the TrainJob, for `kubectl apply`.

    Every node runs as many processes as it has GPUs; torchrun tells each who it is. The volume must be one that many
    nodes may mount at once; what the training saves lies there beside its output, so a job tried again goes on from it.
    Raises RefsrError where the cluster file names no volume, or a path of the stage is not
    told or lies elsewhere.
    """
    if cluster.state is None:
        raise RefsrError("the cluster file names no volume: several nodes need `state: {claim: NAME}`, ReadWriteMany")
    _require_paths(wanted, cluster.state.path)
    asked = cluster.tasks[wanted.stage]
    resources = {"cpu": asked.cpu, "memory": asked.memory} | (
        {cluster.gpu.resource: str(asked.gpus)} if asked.gpus else {}
    )
    words = ["torchrun", "-m", "refsr", wanted.stage, "--params", str(PARAMS)]
    words += [word for port, path in wanted.paths.items() for word in (f"--{port}", path)]
    environment = ENVIRONMENT | {"MLFLOW_TRACKING_URI": tracking_uri}
    named = {"name": wanted.name} | ({"namespace": cluster.target.namespace} if cluster.target.namespace else {})
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": named,
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": image,
                "command": words,
                "numNodes": wanted.nodes,
                "numProcPerNode": asked.gpus or 1,
                "resourcesPerNode": {"requests": resources, "limits": resources},
                "env": [{"name": key, "value": value} for key, value in environment.items()] + _secrets(cluster),
            },
            "podTemplateOverrides": [
                {"targetJobs": [{"name": NODE}], "spec": _pod(wanted.name, cluster, cluster.state)}
            ],
        },
    }
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {PARAMS.name: params}}, job]


def _require_paths(wanted: Nodes, volume: str) -> None:
    ports = set(steps.ports(steps.load(wanted.stage)))
    if ports != set(wanted.paths):
        raise RefsrError(f"{wanted.stage}: paths {sorted(ports)} are to be told, not {sorted(wanted.paths)}")
    for port, path in wanted.paths.items():
        if not PurePosixPath(path).is_relative_to(volume) or ".." in PurePosixPath(path).parts:
            raise RefsrError(f"{wanted.stage}: {port} {path}: not on the volume, which is mounted at {volume}")


def _secrets(cluster: Cluster) -> list[Mapping[str, Any]]:
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
        for secret in cluster.secrets
        for key, variable in secret.env.items()
    ]


def _pod(name: str, cluster: Cluster, volume: State) -> dict[str, Any]:
    """What the pods of every node have beside the runtime's own: volumes, and where they may run."""
    tolerations = [*cluster.everywhere.tolerations, *cluster.gpu.tolerations]
    return {
        "nodeSelector": cluster.everywhere.node_selector | cluster.gpu.node_selector,
        "tolerations": [each.model_dump(exclude_none=True) for each in tolerations],
        "volumes": [
            {"name": "state", "persistentVolumeClaim": {"claimName": volume.claim}},
            {"name": "params", "configMap": {"name": name}},
        ],
        "containers": [
            {
                "name": NODE,
                "volumeMounts": [
                    {"name": "state", "mountPath": volume.path},
                    {"name": "params", "mountPath": str(PARAMS.parent), "readOnly": True},
                ],
            }
        ],
    }
