"""What the body of every component calls: artifacts become paths, and the stage goes through refsr.steps.run.

The bodies are copied into the pods as text, so they hold one call; this module is imported there from the image.
"""

import contextlib
import math
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from components.trainjob import controller
from refsr import log, steps
from refsr.errors import RefsrError
from refsr.integrations.tracking import end_pipeline
from refsr.params import parse_section

# What the pod's environment tells, and no parameter may: a value that is another in each run would defeat the cache.
STATE = "REFSR_STATE"  # a folder that outlives pods
RUN = "KFP_RUN_ID"
TERMINATION = Path("/dev/termination-log")  # in a pod: what stands in it becomes the reason of a failure


class Artifact(Protocol):
    """What is used of kfp.dsl.Artifact: its URI, the local path behind it, and metadata kept with it."""

    uri: str
    path: str
    metadata: dict[str, Any]


Given = Artifact | list[Any] | str | None  # what a component hands over under one name


def run(
    stage: str,
    params: Mapping[str, Any],
    tracking_uri: str,
    metrics: Artifact,
    show: Mapping[str, Artifact] | None = None,
    uri: str = "",
    **given: Given,
) -> None:
    """Run a stage on the local paths of its artifacts; its metrics become the metadata of `metrics`.

    An artifact that is None is left out, and a text is an option of the stage. `uri`, if not empty, is the raw set,
    which the stage reads itself, so that no artifact of it is copied into the pod.
    `show` names files of the outputs ("evaluation/report.html") to be copied to artifacts of their own, since Kubeflow
    shows single files only. What a user can mend ends the process with its message and without a traceback.
    """
    paths = {name: _path(value) for name, value in given.items() if value is not None} | ({"raw": uri} if uri else {})
    with ending_as_the_command_line_does(), log.stage(stage):
        section = parse_section(steps.SIDE_STEPS.get(stage, stage), params)
        state = _state()
        pipeline = os.environ.get(RUN)
        run_stage = controller.run if controller.TRAINJOB in os.environ else steps.run
        if raw := cast(Artifact | None, given.get("raw")):  # each pod has a copy of its own; the artifact is made once
            paths["named"] = {"raw": raw.uri}
        numbers = run_stage(stage, section, tracking_uri=tracking_uri, state=state, pipeline=pipeline, **paths)
    # JSON knows neither NaN nor infinity, and Kubeflow's launcher refuses a document that has them.
    metrics.metadata.update({key: value for key, value in numbers.items() if math.isfinite(value)})
    for name, page in (show or {}).items():
        port, _, file = name.partition("/")
        shutil.copyfile(paths[port] / file, page.path)


def _state() -> Path | None:
    """The volume of the cluster file, if it names one. Raises RefsrError where this user may not write to it."""
    if STATE not in os.environ:
        return None
    state = Path(os.environ[STATE])
    if state.is_dir() and not os.access(state, os.W_OK):  # a new volume is often root's alone
        raise RefsrError(
            f"{state}: user {os.getuid()} may not write to this volume; `kubectl apply -k k8s/state` opens the claim "
            "`data` to tasks (docs/how-to/kubeflow.md)"
        )
    return state


def _path(value: Artifact | list[Any] | str) -> Any:
    if isinstance(value, str):
        return value
    return [Path(each.path) for each in value] if isinstance(value, list) else Path(value.path)


def finish(status: Any, tracking_uri: str, image: str) -> None:
    """Close the MLflow run `pipeline`: FINISHED, KILLED, or FAILED with the reason as its tag `error`.

    `status` is a kfp.dsl.PipelineTaskFinalStatus.
    """
    ended = {"SUCCEEDED": "FINISHED", "CANCELLED": "KILLED", "CANCELED": "KILLED"}.get(status.state, "FAILED")
    tags = {"kfp.job": status.pipeline_job_resource_name, "kfp.state": status.state, "image": image}
    if ended != "FINISHED":
        tags["error"] = status.error_message or f"state {status.state}"
    with ending_as_the_command_line_does():
        end_pipeline(tracking_uri, os.environ.get(RUN) or status.pipeline_job_resource_name, ended, tags)


@contextlib.contextmanager
def ending_as_the_command_line_does() -> Iterator[None]:
    """End with the message of a RefsrError, without a traceback, where Kubeflow and the person at the log see it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a cluster stops a pod: end the run as KILLED
    log.set_up()
    try:
        yield
    except RefsrError as error:
        if TERMINATION.is_file():
            TERMINATION.write_bytes(str(error).encode()[:4096])  # Kubernetes reads no more
        if log.is_json():
            log.error(str(error))
            raise SystemExit(1) from None
        raise SystemExit(f"refsr: error: {error}") from None
