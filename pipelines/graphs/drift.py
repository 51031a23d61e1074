"""Whether the faces that the service gets look as in training.

registry -> checkpoint; its logs, and the curated set of its training -> drift.
"""

from functools import partial
from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.tasks import task_factory

NAME = "refsr-drift"
_imported = partial(dsl.importer, reimport=False)


def drift(image: str, cluster: Cluster) -> Any:
    """The pipeline. Its inputs: MLflow store, URIs of logs and of data, sections of parameters."""

    @dsl.pipeline(name=NAME, display_name="RefSR drift")
    def pipeline(
        tracking_uri: str,
        logs: str,
        curated: str,
        checkpoint: dict[str, Any],
        drift: dict[str, Any],
    ) -> None:
        """Compare the faces of the service with those of training."""
        task = task_factory(tracking_uri, cluster, image)
        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            refsr = task("checkpoint", params=checkpoint).outputs["refsr"]
            data = _imported(artifact_uri=curated, artifact_class=dsl.Dataset).output
            lines = _imported(artifact_uri=logs, artifact_class=dsl.Artifact).output
            task("drift", params=drift, refsr=refsr, curated=data, logs=lines)

    return pipeline
