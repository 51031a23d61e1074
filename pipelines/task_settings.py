"""A task of a graph with all that the cluster file says of it."""

import json

from kfp import dsl, kubernetes

from components.shell import RUN, STATE
from components.trainjob.controller import NAMESPACE, TRAINJOB
from pipelines.cluster import ENVIRONMENT, RESUMABLE, Cluster, Placement
from pipelines.trainjob_spec import trainjob

# What the task of a stage on several nodes asks for itself: it copies files and waits.
WAITING = {"cpu": "1", "memory": "2Gi", "gpus": 0, "shm": None}


def dress(task: dsl.PipelineTask, name: str, cluster: Cluster, image: str) -> dsl.PipelineTask:
    """`task` with its image and all that `cluster` says of the stage `name`."""
    asked = cluster.tasks[name]
    if asked.nodes > 1:
        task.set_env_variable(TRAINJOB, json.dumps(trainjob(name, cluster, image)))
        kubernetes.use_field_path_as_env(task, NAMESPACE, "metadata.namespace")
        asked = asked.model_copy(update=WAITING)
    task.set_container_image(image).set_caching_options(asked.cache)
    task.set_cpu_request(asked.cpu).set_cpu_limit(asked.cpu)
    task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    for key, value in ENVIRONMENT.items():
        task.set_env_variable(key, value)
    kubernetes.use_field_path_as_env(task, RUN, "metadata.labels['pipeline/runid']")
    if asked.retries:
        task.set_retry(asked.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.set_timeout(task, asked.timeout_minutes * 60)
    if asked.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=asked.shm)  # noqa: S108
    for secret in cluster.secrets:
        kubernetes.use_secret_as_env(task, secret.name, secret.env)
    if cluster.state and name in RESUMABLE:
        kubernetes.mount_pvc(task, cluster.state.claim, cluster.state.path)
        task.set_env_variable(STATE, cluster.state.path)
    _place(task, cluster.everywhere)
    if asked.gpus:
        task.set_accelerator_type(cluster.gpu.resource).set_accelerator_limit(asked.gpus)
        _place(task, cluster.gpu)
    return task


def _place(task: dsl.PipelineTask, where: Placement) -> None:
    for key, value in where.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in where.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
