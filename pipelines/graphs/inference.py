"""Batch inference: a registered model upscales a folder of small faces and references."""

from typing import Any

from kfp import dsl

from components import stages
from pipelines.cluster import Cluster
from pipelines.task_settings import dress

NAME = "refsr-inference"


def inference(image: str, cluster: Cluster) -> Any:
    """The pipeline. Its inputs are the MLflow store, sections of parameters, and `pairs`, the URI of the folder."""

    @dsl.pipeline(name=NAME, description="A registered model on a folder of faces.")
    def pipeline(tracking_uri: str, pairs: str, checkpoint: dict[str, Any], upscale_folder: dict[str, Any]) -> None:
        def task(name: str, **inputs: Any) -> Any:
            return dress(getattr(stages, name)(tracking_uri=tracking_uri, **inputs), name, cluster, image)

        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            refsr = task("checkpoint", params=checkpoint).outputs["refsr"]
            folder = dsl.importer(artifact_uri=pairs, artifact_class=dsl.Dataset, reimport=False).output
            task("upscale_folder", params=upscale_folder, refsr=refsr, pairs=folder)

    return pipeline
