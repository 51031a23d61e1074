"""Raw set to identity groups in a graph: by one task, or by several that measure parts and one that joins them."""

from collections.abc import Callable
from typing import Any

from kfp import dsl


def curation(task: Callable[..., Any], shards: int, params: Any, layout: Any, uri: Any = "", raw: Any = None) -> Any:
    """The artifact `curated`, of the raw set at `uri` or of the artifact `raw`, read by `layout`.

    `task` makes a task of a stage. The loop is over texts written in the package: of all that is known of loops, only
    that holds on a cluster and under kfp.local (docs/decisions/0003-kubeflow-loops.md).
    """
    given = {"params": params, "uri": uri, "layout": layout} | ({"raw": raw} if raw else {})
    if shards == 1:
        return task("curate", **given, shard="").outputs["curated"]
    with dsl.ParallelFor([f"{number}/{shards}" for number in range(1, shards + 1)], name="parts") as shard:
        part = task("curate", **given, shard=shard)
    return task("merge", **given, parts=dsl.Collected(part.outputs["curated"])).outputs["curated"]
