"""The training pipeline: the graph of the stages. Its edges are artifacts: a task waits for what it reads, no more."""

from typing import Any, Literal

from kfp import dsl

from components import stages
from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.task_settings import dress

NAME = "refsr-training"
Source = Literal["rendered", "named", "fetched"]


def training(image: str, cluster: Cluster, source: Source) -> Any:
    """The pipeline, for kfp to compile or run; every task runs in `image`.

    Its inputs are the MLflow store, a section of parameters per stage, `raw`, and `layout`, how the raw set is laid
    out. That set is `rendered` by the stage `synthesize`, `named` by the URI `raw`, or `fetched` by DVC revision, as
    the section `fetch` says.
    """

    @dsl.pipeline(name=NAME, description="Raw set to registered model, by way of the quality gate.")
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
        def task(name: str, **inputs: Any) -> Any:
            return dress(getattr(stages, name)(tracking_uri=tracking_uri, **inputs), name, cluster, image)

        with dsl.ExitHandler(task("finish", image=image), name="stages"):
            if source == "rendered":
                raw_set = {"raw": task("synthesize", params=synthesize).outputs["raw"]}
            elif source == "fetched":
                raw_set = {"raw": task("fetch", params=fetch).outputs["raw"]}
            else:
                raw_set = {"uri": raw}
            curated = curation(task, cluster.curate_shards, curate, layout, **raw_set)
            validation = task("validate", params=validate, curated=curated).outputs["validation"]
            sisr = task("train_sisr", params=train_sisr, curated=curated, validation=validation).outputs["sisr"]
            refsr = task("train_refsr", params=train_refsr, curated=curated, sisr=sisr).outputs["refsr"]
            found = {"curated": curated, "sisr": sisr, "refsr": refsr}
            evaluation = task("evaluate", params=evaluate, **found).outputs["evaluation"]
            task("register", params=register, **found, evaluation=evaluation)

    return pipeline
