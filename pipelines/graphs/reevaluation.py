"""Evaluate a registered model on another raw set, or on another revision of one.

registry -> checkpoint, raw set -> curate -> evaluate.
"""

from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.graphs.evaluation import evaluation
from pipelines.graphs.raw_set import Source, raw_set
from pipelines.graphs.tasks import task_factory

NAME = "refsr-reevaluation"


def reevaluation(image: str, cluster: Cluster, source: Source, with_sisr: bool) -> Any:
    """The pipeline.

    Its inputs: MLflow store, `raw`, its `layout`, sections of parameters, URI of a SISR model. The
    registry stores RefSR models only. `with_sisr` also evaluates the SISR model at the URI `sisr`,
    an output of a training run. `source` is that of the raw set, see pipelines.graphs.raw_set.
    """

    @dsl.pipeline(
        name=NAME,
        display_name="RefSR reevaluation",
        description="Evaluate a registered model on a raw set.",
    )
    def pipeline(
        tracking_uri: str,
        sisr: str,
        raw: str,
        layout: str,
        checkpoint: dict[str, Any],
        fetch: dict[str, Any],
        synthesize: dict[str, Any],
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
            inputs = raw_set(task, source, raw, fetch, synthesize)
            curated = curation(task, cluster.curate_shards, curate, layout, **inputs)
            task("validate", params=validate, curated=curated)
            evaluation(task, cluster.evaluate_shards, evaluate, curated=curated, **models)

    return pipeline
