"""The training pipeline. Its edges are artifacts: a task waits only for the tasks it reads from."""

from typing import Any

from kfp import dsl

from pipelines.cluster import Cluster
from pipelines.graphs.curation import curation
from pipelines.graphs.evaluation import evaluation
from pipelines.graphs.raw_set import Source, raw_set
from pipelines.graphs.tasks import CreateTask, task_factory

NAME = "refsr-training"
SEARCH = "refsr-search"


def training(image: str, cluster: Cluster, source: Source, *, with_register: bool = True) -> Any:
    """The pipeline.

    Its inputs: MLflow store, `raw`, its `layout`, a section of parameters per stage.

    Args:
        image: image of every task.
        cluster: settings of the tasks.
        source: of the raw set, see pipelines.graphs.raw_set.
        with_register: end with `register`. A search over parameters ends with `evaluate`, since
            `register` would move the alias `candidate` in every trial.
    """
    end = "registered model, through the quality gate" if with_register else "evaluated model"

    @dsl.pipeline(
        name=NAME if with_register else SEARCH,
        display_name="RefSR training" if with_register else "RefSR search",
        description=f"Raw set to {end}.",
    )
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
            inputs = raw_set(task, source, raw, fetch, synthesize)
            curated = curation(task, cluster.curate_shards, curate, layout, **inputs)
            models = _models(task, curated, validate, train_sisr, train_refsr)
            inputs = {"curated": curated} | models
            evaluated = evaluation(task, cluster.evaluate_shards, evaluate, **inputs)
            if with_register:
                task("register", params=register, **inputs, evaluation=evaluated)

    return pipeline


def _models(task: CreateTask, curated: Any, validate: Any, sisr: Any, refsr: Any) -> dict[str, Any]:
    """Add validation and the trainings, with these sections of parameters; returns the models."""
    validation = task("validate", params=validate, curated=curated).outputs["validation"]
    first = task("train_sisr", params=sisr, curated=curated, validation=validation).outputs["sisr"]
    second = task("train_refsr", params=refsr, curated=curated, sisr=first).outputs["refsr"]
    return {"sisr": first, "refsr": second}
