"""Apply the cluster file to a task of a graph: image, resources, secrets, volumes, placement."""

import json
from typing import cast

from kfp import dsl, kubernetes

from components.shell import RUN, STATE
from components.trainjob.controller import NAMESPACE, TRAINJOB
from components.trainjob.spec import NodeSettings, trainjob
from pipelines.cluster import ENVIRONMENT, RESUMABLE, Cluster, Placement, State, Task
from refsr.integrations.kubeflow_states import UI

# Request of a task whose stage runs on several nodes: the task copies files and waits.
WAITING = {"cpu": "1", "memory": "2Gi", "gpus": 0, "shm": None}
RUN_LABEL = "metadata.labels['pipeline/runid']"
BACKOFF = {
    "backoff_duration": "30s",
    "backoff_factor": 2.0,
    "backoff_max_duration": "600s",
}


def apply_settings(
    task: dsl.PipelineTask,
    name: str,
    cluster: Cluster,
    image: str,
) -> dsl.PipelineTask:
    """Set the image of `task`, and the settings of the stage `name` in `cluster`."""
    settings = cluster.tasks[name]
    if settings.nodes > 1:
        _set_trainjob(task, node_settings(name, settings, cluster, image))
        settings = settings.model_copy(update=WAITING)
    task.set_container_image(image)
    _set_resources(task, settings, cluster)
    _set_limits(task, settings)
    _set_environment(task, name, cluster)
    _set_user(task, cluster)
    if cluster.target.ui:
        task.set_env_variable(UI, cluster.target.ui)  # no part of the cache key
    if cluster.state and name in RESUMABLE:
        kubernetes.mount_pvc(task, cluster.state.claim, cluster.state.path)
        task.set_env_variable(STATE, cluster.state.path)
    return task


def node_settings(name: str, settings: Task, cluster: Cluster, image: str) -> NodeSettings:
    """The values of a TrainJob; the cluster file is checked to have a volume."""
    state = cast(State, cluster.state)
    resources = {"cpu": settings.cpu, "memory": settings.memory}
    placements = [cluster.everywhere]
    if settings.gpus:
        resources[cluster.gpu.resource] = str(settings.gpus)
        placements.append(cluster.gpu)
    return NodeSettings(
        image=image,
        nodes=settings.nodes,
        processes=settings.gpus or 1,
        resources=resources,
        timeout_seconds=settings.timeout_minutes * 60,
        environment=ENVIRONMENT,
        secrets=cluster.secrets_of(name),
        claim=state.claim,
        mount_path=state.path,
        shm=settings.shm,
        user=(cluster.run_as.user, cluster.run_as.group) if cluster.run_as else None,
        node_selector={
            key: value for place in placements for key, value in place.node_selector.items()
        },
        tolerations=[
            toleration.model_dump(exclude_none=True)
            for place in placements
            for toleration in place.tolerations
        ],
    )


def _set_trainjob(task: dsl.PipelineTask, settings: NodeSettings) -> None:
    task.set_env_variable(TRAINJOB, json.dumps(trainjob(settings)))
    kubernetes.use_field_path_as_env(task, NAMESPACE, "metadata.namespace")


def _set_resources(task: dsl.PipelineTask, settings: Task, cluster: Cluster) -> None:
    """Requests equal limits."""
    task.set_cpu_request(settings.cpu).set_cpu_limit(settings.cpu)
    task.set_memory_request(settings.memory).set_memory_limit(settings.memory)
    if settings.shm:
        kubernetes.empty_dir_mount(
            task,
            "shm",
            "/dev/shm",  # noqa: S108 - in the pod
            medium="Memory",
            size_limit=settings.shm,
        )
    _place(task, cluster.everywhere)
    if settings.gpus:
        task.set_accelerator_type(cluster.gpu.resource)
        task.set_accelerator_limit(settings.gpus)
        _place(task, cluster.gpu)


def _set_limits(task: dsl.PipelineTask, settings: Task) -> None:
    task.set_caching_options(settings.cache)
    if settings.retries:
        task.set_retry(settings.retries, **BACKOFF)
    kubernetes.set_timeout(task, settings.timeout_minutes * 60)


def _set_environment(task: dsl.PipelineTask, name: str, cluster: Cluster) -> None:
    for key, value in ENVIRONMENT.items():
        task.set_env_variable(key, value)
    kubernetes.use_field_path_as_env(task, RUN, RUN_LABEL)
    secrets: dict[str, dict[str, str]] = {}
    for variable, (secret, key) in cluster.secrets_of(name).items():
        secrets.setdefault(secret, {})[key] = variable
    for secret, keys in secrets.items():
        kubernetes.use_secret_as_env(task, secret, keys)


def _set_user(task: dsl.PipelineTask, cluster: Cluster) -> None:
    """No root. The server adds the rest: no privileges, no capabilities, a seccomp profile."""
    if cluster.run_as:
        kubernetes.set_security_context(
            task,
            run_as_user=cluster.run_as.user,
            run_as_group=cluster.run_as.group,
            run_as_non_root=True,
        )


def _place(task: dsl.PipelineTask, placement: Placement) -> None:
    for key, value in placement.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in placement.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
