"""Evaluation in a graph: one task, or one task per part of the people and a task that merges."""

from typing import Any

from kfp import dsl

from pipelines.graphs.shards import numbers
from pipelines.graphs.tasks import CreateTask


def evaluation(task: CreateTask, shards: int, params: Any, **inputs: Any) -> Any:
    """Add the tasks of an evaluation; returns the artifact `evaluation`.

    Args:
        task: creates the task of a stage.
        shards: number of parts.
        params: the section `evaluate`.
        inputs: the artifacts `curated`, `refsr` and, if there is one, `sisr`.
    """
    inputs["params"] = params
    if shards == 1:
        return task("evaluate", **inputs, shard="").outputs["evaluation"]
    with dsl.ParallelFor(numbers(shards), name="evaluations") as shard:
        part = task("evaluate", **inputs, shard=shard)
    parts = dsl.Collected(part.outputs["evaluation"])
    return task("merge_evaluation", **inputs, parts=parts).outputs["evaluation"]
