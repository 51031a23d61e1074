"""Compiled pipelines and queries of them."""

from pathlib import Path
from typing import Any

from pipelines.cluster import load_cluster
from pipelines.compile import compile_package
from pipelines.graphs.drift import drift
from pipelines.graphs.inference import inference
from pipelines.graphs.reevaluation import reevaluation
from pipelines.graphs.training import training
from refsr.strict_yaml import load_documents

ROOT = Path(__file__).parents[1]
IMAGE = "registry.example:5000/refsr:0123abc"
CLUSTER = """
everywhere: {node_selector: {pool: batch}}
gpu:
  node_selector: {gpu: a100}
  tolerations: [{key: dedicated, operator: Equal, value: gpu, effect: NoSchedule}]
secrets: [{name: mlflow, env: {user: MLFLOW_TRACKING_USERNAME, password: MLFLOW_TRACKING_PASSWORD}}]
state: {claim: trainings}
tasks: {train_sisr: {gpus: 2, memory: 64Gi}}
"""
GRAPHS = {
    "rendered": lambda cluster: training(IMAGE, cluster, "rendered"),
    "named": lambda cluster: training(IMAGE, cluster, "named"),
    "fetched": lambda cluster: training(IMAGE, cluster, "fetched"),
    "in parts": lambda cluster: training(
        IMAGE, cluster.model_copy(update={"curate_shards": 3, "evaluate_shards": 2}), "named"
    ),
    "search": lambda cluster: training(IMAGE, cluster, "rendered", with_register=False),
    "reevaluation": lambda cluster: reevaluation(IMAGE, cluster, "fetched", with_sisr=False),
    "reevaluation of both": lambda cluster: reevaluation(
        IMAGE, cluster, "rendered", with_sisr=True
    ),
    "inference": lambda cluster: inference(IMAGE, cluster),
    "drift": lambda cluster: drift(IMAGE, cluster),
}

Spec = dict[str, Any]


def kebab(name: str) -> str:
    return name.replace("_", "-")


def compiled_of(
    package: Path, cluster: Path | None = None, graph: str = "rendered"
) -> tuple[Spec, Spec]:
    """(pipeline, Kubernetes settings of each executor)."""
    compile_package(package, GRAPHS[graph](load_cluster(cluster)))
    pipeline, platform = load_documents(package.read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def stages_of(pipeline: Spec) -> Spec:
    """The tasks inside the exit handler."""
    tasks: Spec = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return tasks


def containers_of(pipeline: Spec) -> dict[str, Spec]:
    executors = pipeline["deploymentSpec"]["executors"].items()
    return {
        name.removeprefix("exec-"): executor["container"]
        for name, executor in executors
        if "container" in executor
    }


def everywhere(document: Any, key: str) -> list[Any]:
    """The values of `key` at any depth."""
    if isinstance(document, list):
        return [value for item in document for value in everywhere(item, key)]
    if not isinstance(document, dict):
        return []
    return [document[key] for _ in range(key in document)] + everywhere(
        list(document.values()), key
    )
