"""Where a graph takes its raw set from."""

from typing import Any, Literal

from pipelines.graphs.tasks import CreateTask

Source = Literal["rendered", "named", "fetched"]


def raw_set(task: CreateTask, source: Source, uri: Any, fetch: Any, synthesize: Any) -> Any:
    """Add the task that makes the raw set, if one does; returns inputs of `curation`.

    Args:
        task: creates the task of a stage.
        source: `rendered` by the stage `synthesize`, `named` by its URI, or `fetched` by the DVC
            revision of the section `fetch`.
        uri: the raw set, if it is named.
        fetch: the section `fetch`.
        synthesize: the section `synthesize`.
    """
    if source == "named":
        return {"uri": uri}
    name, params = ("fetch", fetch) if source == "fetched" else ("synthesize", synthesize)
    return {"raw": task(name, params=params).outputs["raw"]}
