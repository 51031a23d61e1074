"""Evaluate a registered model on a revision of a set.

registry -> checkpoint, fetch -> curate -> evaluate.
"""

from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.graphs.tasks import task_factory

NAME = "refsr-reevaluation"


def reevaluation(image: str, cluster: Cluster, with_sisr: bool) -> Any:
    """The pipeline.

    Its inputs: MLflow store, sections of parameters, `layout`, URI of a SISR model. The registry
    stores RefSR models only. `with_sisr` also evaluates the SISR model at the URI `sisr`, an output
    of a training run.
    """

    @dsl.pipeline(name=NAME, description="Evaluate a registered model on a revision.")
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
        task = task_factory(tracking_uri, cluster, image)
        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            models = {"refsr": task("checkpoint", params=checkpoint).outputs["refsr"]}
            if with_sisr:
                models["sisr"] = dsl.importer(
                    artifact_uri=sisr,
                    artifact_class=dsl.Model,
                    reimport=False,
                ).output
            raw_set = task("fetch", params=fetch).outputs["raw"]
            curated = curation(task, cluster.curate_shards, curate, layout, raw=raw_set)
            task("validate", params=validate, curated=curated)
            task("evaluate", params=evaluate, curated=curated, **models)

    return pipeline
