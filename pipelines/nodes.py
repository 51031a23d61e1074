"""Compare what tasks request with the nodes of the cluster, as far as this user may see them."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.task_requests import Request

TIMEOUT = 3.0  # seconds
HARD = ("NoSchedule", "NoExecute")  # effects of taints that keep a pod away
Node = Mapping[str, Any]


def unplaced(requests: list[Request]) -> Iterator[str]:
    """A message for each task that no node can run; none if the nodes cannot be read."""
    nodes = _nodes()
    if not nodes:
        return
    for request in requests:
        if not any(fits(request, node) for node in nodes):
            resources = ", ".join(f"{key} {value}" for key, value in request.resources.items())
            labels = "".join(f", {key}={value}" for key, value in request.node_selector.items())
            yield (
                f"task {request.task}: no node of the current kubectl context has "
                f"{resources}{labels}: it would stay Pending; set less for it in the cluster file "
                "(k8s/overlays/local/cluster.yaml needs no GPU)"
            )


def fits(request: Request, node: Node) -> bool:
    """Whether an empty node has the resources and labels, and the task tolerates its taints."""
    from kubernetes.utils.quantity import parse_quantity

    has = node["status"]["allocatable"]
    labels = node["metadata"].get("labels") or {}
    spec = node["spec"]
    return (
        not spec.get("unschedulable")
        and all(
            parse_quantity(has.get(key, "0")) >= parse_quantity(value)
            for key, value in request.resources.items()
        )
        and request.node_selector.items() <= labels.items()
        and all(_tolerated(taint, request.tolerations) for taint in spec.get("taints") or [])
    )


def _tolerated(taint: Mapping[str, str], tolerations: list[dict[str, str]]) -> bool:
    return taint["effect"] not in HARD or any(
        each.get("key") in (None, taint["key"])
        and each.get("effect") in (None, taint["effect"])
        and (each.get("operator") == "Exists" or each.get("value", "") == taint.get("value", ""))
        for each in tolerations
    )


def _nodes() -> list[Node]:
    """The nodes of the current context; [] without one, or if it does not let them be read."""
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    configuration = client.Configuration()
    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        configuration.retries = False
        api = client.ApiClient(configuration)
        listed = client.CoreV1Api(api).list_node(_request_timeout=TIMEOUT)
    except (config.ConfigException, client.ApiException, HTTPError, OSError):
        return []
    nodes: list[Node] = api.sanitize_for_serialization(listed)["items"]
    return nodes
