"""A training on several nodes: the TrainJob that the task of its stage has Kubeflow Trainer run (components.trainjob.controller).

Written for Trainer 2.2 and later; before, what stands in `runtimePatches` was called `podTemplateOverrides`. One node
needs none of this: there the stage is a task like any other.
"""

from collections.abc import Mapping
from typing import Any, cast

from pipelines.cluster import ENVIRONMENT, Cluster, State, Task

RUNTIME = "torch-distributed"  # the runtime Kubeflow Trainer brings for PyTorch
NODE = "node"  # what that runtime calls its job, and the container in it


def trainjob(stage: str, cluster: Cluster, image: str) -> dict[str, Any]:
    """The TrainJob of a stage, but for its name and the argument of its command, the folder of the run's inputs.

    Every node runs as many processes as it has GPUs; torchrun tells each who it is. What the training saves lies on
    the volume, so a job made anew goes on from it. The job ends by itself when the task's time is over.
    """
    asked = cluster.tasks[stage]
    resources = {"cpu": asked.cpu, "memory": asked.memory}
    if asked.gpus:
        resources[cluster.gpu.resource] = str(asked.gpus)
    pod = _pod(asked, cluster)
    template = {"spec": {"replicatedJobs": [{"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}]}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": image,
                "command": ["torchrun", "-m", "components.trainjob.entrypoint"],
                "numNodes": asked.nodes,
                "numProcPerNode": asked.gpus or 1,
                "resourcesPerNode": {"requests": resources, "limits": resources},
                "env": [{"name": key, "value": value} for key, value in ENVIRONMENT.items()] + _secrets(cluster),
            },
            "runtimePatches": [{"manager": "refsr", "trainingRuntimeSpec": {"template": template}}],
            "activeDeadlineSeconds": asked.timeout_minutes * 60,
        },
    }


def _secrets(cluster: Cluster) -> list[Mapping[str, Any]]:
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key}}}
        for secret in cluster.secrets
        for key, variable in secret.env.items()
    ]


def _pod(asked: Task, cluster: Cluster) -> dict[str, Any]:
    """What the pods of every node have beside the runtime's own: volumes, and where they may run."""
    state = cast(State, cluster.state)  # several nodes without it are refused with the cluster file
    volumes: list[dict[str, Any]] = [{"name": "state", "persistentVolumeClaim": {"claimName": state.claim}}]
    mounts = [{"name": "state", "mountPath": state.path}]
    if asked.shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": asked.shm}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - in the pod
    places = [cluster.everywhere, *([cluster.gpu] if asked.gpus else [])]
    return {
        "nodeSelector": {key: value for place in places for key, value in place.node_selector.items()},
        "tolerations": [each.model_dump(exclude_none=True) for place in places for each in place.tolerations],
        "volumes": volumes,
        "containers": [{"name": NODE, "volumeMounts": mounts}],
    }
