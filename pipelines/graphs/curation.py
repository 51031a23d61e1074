"""Curation in a graph: one task, or one task per part and a task that merges the parts."""

from typing import Any

from kfp import dsl

from pipelines.graphs.shards import numbers
from pipelines.graphs.tasks import CreateTask


def curation(
    task: CreateTask,
    shards: int,
    params: Any,
    layout: Any,
    uri: Any = "",
    raw: Any = None,
) -> Any:
    """Add the tasks of curation; returns the artifact `curated`.

    The loop runs over texts of the package: of all loops, only such work both on a cluster and
    under kfp.local (docs/decisions/0003-kubeflow-loops.md).

    Args:
        task: creates the task of a stage.
        shards: number of parts.
        params: the section `curate`.
        layout: layout of the raw set.
        uri: the raw set, if it is no artifact.
        raw: the raw set as an artifact.
    """
    inputs = {"params": params, "uri": uri, "layout": layout}
    if raw:
        inputs["raw"] = raw
    if shards == 1:
        return task("curate", **inputs, shard="").outputs["curated"]
    with dsl.ParallelFor(numbers(shards), name="parts") as shard:
        part = task("curate", **inputs, shard=shard)
    parts = dsl.Collected(part.outputs["curated"])
    return task("merge", **inputs, parts=parts).outputs["curated"]
