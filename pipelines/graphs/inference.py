"""Batch inference: a registered model upscales a folder of small faces and references."""

from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.tasks import task_factory

NAME = "refsr-inference"


def inference(image: str, cluster: Cluster) -> Any:
    """The pipeline. Its inputs: MLflow store, sections of parameters, URI of the folder."""

    @dsl.pipeline(
        name=NAME,
        display_name="RefSR inference",
        description="A registered model upscales a folder of faces.",
    )
    def pipeline(
        tracking_uri: str,
        pairs: str,
        checkpoint: dict[str, Any],
        upscale_folder: dict[str, Any],
    ) -> None:
        task = task_factory(tracking_uri, cluster, image)
        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            refsr = task("checkpoint", params=checkpoint).outputs["refsr"]
            folder = dsl.importer(
                artifact_uri=pairs,
                artifact_class=dsl.Dataset,
                reimport=False,
            ).output
            task("upscale_folder", params=upscale_folder, refsr=refsr, pairs=folder)

    return pipeline
