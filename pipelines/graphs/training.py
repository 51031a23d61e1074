"""The training pipeline. Its edges are artifacts: a task waits only for the tasks it reads from."""

from typing import Any, Literal

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.graphs.tasks import task_factory

NAME = "refsr-training"
Source = Literal["rendered", "named", "fetched"]


def training(image: str, cluster: Cluster, source: Source) -> Any:
    """The pipeline.

    Its inputs: MLflow store, `raw`, its `layout`, a section of parameters per stage.

    Args:
        image: image of every task.
        cluster: settings of the tasks.
        source: of the raw set: `rendered` by the stage `synthesize`, `named` by the URI `raw`, or
            `fetched` by the DVC revision of the section `fetch`.
    """

    @dsl.pipeline(name=NAME, description="Raw set to registered model, through the quality gate.")
    def pipeline(
        tracking_uri: str,
        raw: str,
        layout: str,
        fetch: dict[str, Any],
        synthesize: dict[str, Any],
        curate: dict[str, Any],
        validate: dict[str, Any],
        train_sisr: dict[str, Any],
        train_refsr: dict[str, Any],
        evaluate: dict[str, Any],
        register: dict[str, Any],
    ) -> None:
        task = task_factory(tracking_uri, cluster, image)
        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            if source == "rendered":
                raw_set = {"raw": task("synthesize", params=synthesize).outputs["raw"]}
            elif source == "fetched":
                raw_set = {"raw": task("fetch", params=fetch).outputs["raw"]}
            else:
                raw_set = {"uri": raw}
            curated = curation(task, cluster.curate_shards, curate, layout, **raw_set)
            validation = task("validate", params=validate, curated=curated).outputs["validation"]
            sisr = task(
                "train_sisr",
                params=train_sisr,
                curated=curated,
                validation=validation,
            ).outputs["sisr"]
            refsr = task(
                "train_refsr",
                params=train_refsr,
                curated=curated,
                sisr=sisr,
            ).outputs["refsr"]
            inputs = {"curated": curated, "sisr": sisr, "refsr": refsr}
            evaluation = task("evaluate", params=evaluate, **inputs).outputs["evaluation"]
            task("register", params=register, **inputs, evaluation=evaluation)

    return pipeline
