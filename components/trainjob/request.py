"""The file by which a TrainJob's task tells the nodes what to train."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from refsr import steps
from refsr.config import Section
from refsr.errors import RefsrError
from refsr.io.own_files import read_json

REQUEST = "request.json"  # file the nodes read: stage, parameters, paths
REQUEST_TYPES = {
    "stage": str,
    "params": dict,
    "tracking_uri": str,
    "state": str,
    "pipeline": str,
    "paths": dict,
}


def new_request(
    folder: Path,
    stage: str,
    params: Section,
    tracking_uri: str,
    pipeline: str,
    names: Iterable[str],
) -> dict[str, Any]:
    """The request to train a stage; `folder` is the job's, on the state volume."""
    return {
        "stage": stage,
        "params": params.model_dump(mode="json"),
        "tracking_uri": tracking_uri,
        "state": str(folder.parent),
        "pipeline": pipeline,
        "paths": {name: str(folder / name) for name in names},
    }


def read_request(folder: Path) -> dict[str, Any]:
    """The request of the task. Raises RefsrError if it is missing or damaged."""
    path = folder / REQUEST
    way_out = "the task writes it again when it is retried"
    try:
        request: dict[str, Any] = read_json(path, "")
    except RefsrError as error:
        raise RefsrError(f"{path}: missing or damaged; {way_out}") from error
    for key, kind in REQUEST_TYPES.items():
        if not isinstance(request.get(key), kind):
            raise RefsrError(f"{path}: damaged: {key} is missing or of another type; {way_out}")
    are_texts = all(isinstance(each, str) for each in request["paths"].values())
    if request["stage"] not in steps.STEPS or not are_texts:
        raise RefsrError(f"{path}: damaged: no stage or paths; {way_out}")
    return request
