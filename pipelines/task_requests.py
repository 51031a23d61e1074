"""What the tasks of a compiled package request: the table of a dry run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components.trainjob.controller import TRAINJOB
from refsr.strict_yaml import load_documents

CPU, MEMORY = "cpu", "memory"
SHARED = "/dev/shm"  # noqa: S108 - in the pod
Spec = Mapping[str, Any]


class Request(NamedTuple):
    """What a task requests of the cluster."""

    task: str
    image: str
    resources: dict[str, str]  # Kubernetes quantities by resource; of each node of a TrainJob
    nodes: int
    retries: int
    minutes: int
    cache: bool
    secrets: list[str]
    volumes: list[str]
    node_selector: dict[str, str]
    tolerations: list[dict[str, str]]


def requests_of(package: Path) -> list[Request]:
    """The requests of all tasks that run in a container, in the order of the package."""
    pipeline, *platforms = load_documents(package.read_text(encoding="utf-8"))
    settings = platforms[0]["platforms"]["kubernetes"] if platforms else {}
    executors = pipeline["deploymentSpec"]["executors"]
    tasks = dict(_tasks(pipeline))
    return [
        _request(
            name.removeprefix("exec-"),
            executor["container"],
            tasks.get(name.replace("exec-", "comp-", 1), {}),
            settings.get("deploymentSpec", {}).get("executors", {}).get(name, {}),
        )
        for name, executor in executors.items()
        if "container" in executor
    ]


def _tasks(node: Any) -> Iterator[tuple[str, Spec]]:
    """Component and task of each task, at any depth."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "tasks":
            yield from ((task["componentRef"]["name"], task) for task in value.values())
        yield from _tasks(value)


def _request(name: str, container: Spec, task: Spec, settings: Spec) -> Request:
    environment = {each["name"]: each["value"] for each in container.get("env", [])}
    job = json.loads(environment[TRAINJOB])["spec"]["trainer"] if TRAINJOB in environment else {}
    return Request(
        task=name,
        image=container["image"],
        resources=job["resourcesPerNode"]["limits"] if job else _resources(container),
        nodes=job.get("numNodes", 1),
        retries=task.get("retryPolicy", {}).get("maxRetryCount", 0),
        minutes=int(settings.get("activeDeadlineSeconds", 0)) // 60,
        cache=task.get("cachingOptions", {}).get("enableCache", False),
        secrets=[each["secretName"] for each in settings.get("secretAsEnv", [])],
        volumes=list(_volumes(settings)),
        node_selector=settings.get("nodeSelector", {}).get("labels", {}),
        tolerations=settings.get("tolerations", []),
    )


def _resources(container: Spec) -> dict[str, str]:
    limits = container["resources"]
    resources = {CPU: limits["resourceCpuLimit"], MEMORY: limits["resourceMemoryLimit"]}
    if gpu := limits.get("accelerator"):
        resources[gpu["resourceType"]] = gpu["resourceCount"]
    return resources


def _volumes(settings: Spec) -> Iterator[str]:
    for each in settings.get("pvcMount", []):
        claim = each["pvcNameParameter"]["runtimeValue"]["constant"]
        yield f"{claim}:{each['mountPath']}"
    for each in settings.get("emptyDirMounts", []):
        if each["mountPath"] == SHARED:
            yield f"{each['sizeLimit']}:{SHARED}"


HEAD = (
    "task",
    "cpu",
    "memory",
    "gpu",
    "nodes",
    "retries",
    "time-out",
    "cache",
    "secrets",
    "volumes",
)


def table(requests: list[Request]) -> str:
    """The requests as text, a line per task below the images."""
    images = dict.fromkeys(each.image for each in requests)
    lines = [HEAD, *map(_line, requests)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*(f"image  {image}" for image in images), *rows])


def _line(request: Request) -> tuple[str, ...]:
    gpus = [count for key, count in request.resources.items() if key not in (CPU, MEMORY)]
    return (
        request.task,
        request.resources[CPU],
        request.resources[MEMORY],
        *(gpus or ["-"]),
        str(request.nodes),
        str(request.retries),
        f"{request.minutes} min",
        "yes" if request.cache else "no",
        ",".join(request.secrets) or "-",
        ",".join(request.volumes) or "-",
    )
