"""Whether the faces that the service gets look as in training.

registry -> checkpoint; its logs, and the curated set of its training -> drift.
"""

from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.tasks import task_factory

NAME = "refsr-drift"


def drift(image: str, cluster: Cluster) -> Any:
    """The pipeline. Its inputs: MLflow store, sections of parameters, URIs of logs and of data."""

    @dsl.pipeline(
        name=NAME,
        display_name="RefSR drift",
        description="Compare the faces of the service with those of training.",
    )
    def pipeline(
        tracking_uri: str,
        logs: str,
        curated: str,
        checkpoint: dict[str, Any],
        drift: dict[str, Any],
    ) -> None:
        task = task_factory(tracking_uri, cluster, image)
        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            inputs = {"refsr": task("checkpoint", params=checkpoint).outputs["refsr"]}
            inputs["curated"] = dsl.importer(
                artifact_uri=curated,
                artifact_class=dsl.Dataset,
                reimport=False,
            ).output
            inputs["logs"] = dsl.importer(
                artifact_uri=logs,
                artifact_class=dsl.Artifact,
                reimport=False,
            ).output
            task("drift", params=drift, **inputs)

    return pipeline
