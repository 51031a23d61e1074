"""What the body of every component calls: artifacts become paths, and the stage goes through refsr.steps.run.

The bodies are copied into the pods as text, so they hold one call; this module is imported there from the image.
"""

import contextlib
import math
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from refsr import steps
from refsr.config import Section, parse_section
from refsr.errors import RefsrError
from refsr.services.tracking import start_run


class Artifact(Protocol):
    """What is used of kfp.dsl.Artifact: the local path behind its URI, and metadata kept with it."""

    path: str
    metadata: dict[str, Any]


def run(
    stage: str,
    params: Mapping[str, Any],
    tracking_uri: str,
    metrics: Artifact,
    show: Mapping[str, Artifact] | None = None,
    **ports: Artifact,
) -> None:
    """Run a stage on the local paths of its artifacts; its metrics become the metadata of `metrics`.

    `show` names files of the outputs ("evaluation/report.html") to be copied to artifacts of their own, since Kubeflow
    shows single files only. What a user can mend ends the process with its message and without a traceback.
    """
    paths = {port: Path(artifact.path) for port, artifact in ports.items()}
    with _ending_as_the_command_line_does():
        numbers = steps.run(stage, parse_section(stage, params), tracking_uri=tracking_uri, **paths)
    # JSON knows neither NaN nor infinity, and Kubeflow's launcher refuses a document that has them.
    metrics.metadata.update({key: value for key, value in numbers.items() if math.isfinite(value)})
    for name, page in (show or {}).items():
        port, _, file = name.partition("/")
        shutil.copyfile(paths[port] / file, page.path)


def finish(status: Any, tracking_uri: str, image: str) -> None:
    """Record how a pipeline ended as an MLflow run `pipeline`: FINISHED, or FAILED with the reason as its tag `error`.

    `status` is a kfp.dsl.PipelineTaskFinalStatus.
    """
    facts = {"kfp.job": status.pipeline_job_resource_name, "kfp.state": status.state, "image": image}
    with (
        _ending_as_the_command_line_does(),
        contextlib.suppress(PipelineFailedError),
        start_run(tracking_uri, "pipeline", Section()) as tracker,
    ):
        tracker.tags(facts)
        if status.state != "SUCCEEDED":
            raise PipelineFailedError(status.error_message or f"state {status.state}")


class PipelineFailedError(Exception):
    """What marks the MLflow run of a failed pipeline; it goes no further."""


@contextlib.contextmanager
def _ending_as_the_command_line_does() -> Iterator[None]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a cluster stops a pod: end the run as KILLED
    try:
        yield
    except RefsrError as error:
        raise SystemExit(f"refsr: error: {error}") from None
