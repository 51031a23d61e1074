"""Create the tasks of a graph."""

from collections.abc import Callable
from typing import Any

from components import stages
from pipelines.cluster import Cluster
from pipelines.task_settings import apply_settings

CreateTask = Callable[..., Any]


def task_factory(tracking_uri: Any, cluster: Cluster, image: str) -> CreateTask:
    """A function that creates the task of a stage: `task(name, **inputs)`."""

    def task(name: str, **inputs: Any) -> Any:
        component = getattr(stages, name)
        created = component(tracking_uri=tracking_uri, **inputs)
        return apply_settings(created, name, cluster, image)

    return task
