"""A registered model on the data of a revision: registry -> checkpoint, raw set -> curate -> evaluate."""

from typing import Any

from kfp import dsl

from components import stages
from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.task_settings import dress

NAME = "refsr-reevaluation"


def reevaluation(image: str, cluster: Cluster, with_sisr: bool) -> Any:
    """The pipeline.

    Its inputs are the MLflow store, sections of parameters, `layout`, how the raw set is laid out, and `sisr`, the URI
    of a SISR training.

    The registry keeps RefSR only: SISR is measured `with_sisr`, from what a training run left, or not at all.
    """

    @dsl.pipeline(name=NAME, description="A registered model on the data of a revision.")
    def pipeline(
        tracking_uri: str,
        sisr: str,
        layout: str,
        checkpoint: dict[str, Any],
        fetch: dict[str, Any],
        curate: dict[str, Any],
        validate: dict[str, Any],
        evaluate: dict[str, Any],
    ) -> None:
        def task(name: str, **inputs: Any) -> Any:
            return dress(getattr(stages, name)(tracking_uri=tracking_uri, **inputs), name, cluster, image)

        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            refsr = task("checkpoint", params=checkpoint).outputs["refsr"]
            models = {"refsr": refsr}
            if with_sisr:
                models["sisr"] = dsl.importer(artifact_uri=sisr, artifact_class=dsl.Model, reimport=False).output
            raw_set = task("fetch", params=fetch).outputs["raw"]
            curated = curation(task, cluster.curate_shards, curate, layout, raw=raw_set)
            task("validate", params=validate, curated=curated)
            task("evaluate", params=evaluate, curated=curated, **models)

    return pipeline
