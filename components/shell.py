"""The functions that component bodies call: artifacts become paths, refsr.steps.run runs the stage.

Kubeflow copies a component's body into the pod as text. A body therefore holds one call, and
imports this module from the image.
"""

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from components.pages import show_files
from components.summary import OF_THE_RUN, summary
from components.trainjob import controller
from refsr import log, steps
from refsr.console import end_on_sigterm
from refsr.errors import RefsrError, StoppedError
from refsr.integrations.kubeflow_states import status_of
from refsr.integrations.pipeline_runs import STATE as KFP_STATE
from refsr.integrations.pipeline_runs import describe_pipeline, end_pipeline
from refsr.params import parse_section

# Values that change with each run come from the pod's environment: as parameters they would be
# part of the cache key, and nothing would be cached.
STATE = "REFSR_STATE"  # folder that outlives pods
RUN = "KFP_RUN_ID"
TERMINATION = Path("/dev/termination-log")  # Kubernetes shows its content as the failure reason
TERMINATION_BYTES = 4096  # Kubernetes reads no more
_logger = logging.getLogger(__name__)


class Artifact(Protocol):
    """The part of kfp.dsl.Artifact in use: URI, local path, metadata."""

    uri: str
    path: str
    metadata: dict[str, Any]


Port = Artifact | list[Any] | str | None  # value of one named port of a component


def run(
    stage: str,
    params: Mapping[str, Any],
    tracking_uri: str,
    metrics: Artifact,
    show: Mapping[str, Artifact] | None = None,
    uri: str = "",
    **ports: Port,
) -> None:
    """Run a stage on the local paths of its artifacts; store its metrics as metadata of `metrics`.

    Args:
        stage: name of the stage.
        params: its section of the params file.
        tracking_uri: MLflow store.
        metrics: artifact that receives the finite metrics.
        show: files of output folders ("evaluation/report.html") to show as artifacts of their own,
            see components.pages.
        uri: the raw set, if not empty. The stage reads it in place; nothing is copied to the pod.
        ports: artifacts by name, None for an absent one; a text is an option of the stage.

    Raises:
        SystemExit: with the message of a RefsrError and without a traceback.
    """
    paths = _paths(uri, ports)
    with exit_with_message(), log.stage(stage):
        values = _run_stage(stage, params, tracking_uri, paths)
    # JSON has no NaN and no infinity: Kubeflow's launcher rejects a document with them.
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    metrics.metadata.update(finite)
    _describe(stage, values, tracking_uri, ports)
    show_files(show or {}, paths)


def _describe(
    stage: str,
    values: Mapping[str, float],
    tracking_uri: str,
    ports: Mapping[str, Port],
) -> None:
    """Add a summary and the page of the MLflow run to the metadata of the stage's outputs."""
    metadata: dict[str, Any] = dict(summary(stage, values))
    if pipeline := os.environ.get(RUN):
        of_the_run = metadata if stage in OF_THE_RUN else {}
        try:
            metadata["mlflow"] = describe_pipeline(tracking_uri, pipeline, of_the_run)
        except RefsrError as error:  # the outputs of the stage are complete
            _logger.warning("no summary in MLflow: %s", error)
    for name, kind in steps.ports(steps.load(stage)).items():
        if kind.endswith("output"):
            cast(Artifact, ports[name]).metadata.update(metadata)


def _paths(uri: str, ports: Mapping[str, Port]) -> dict[str, Any]:
    paths = {name: _path(value) for name, value in ports.items() if value is not None}
    if uri:
        paths["raw"] = uri
    if raw := cast(Artifact | None, ports.get("raw")):
        # Each pod has its own copy: only the URI is the same in every try.
        paths["named"] = {"raw": raw.uri}
    return paths


def _run_stage(
    stage: str,
    params: Mapping[str, Any],
    tracking_uri: str,
    paths: Mapping[str, Any],
) -> dict[str, float]:
    section = parse_section(steps.SIDE_STEPS.get(stage, stage), params)
    is_trainjob = controller.TRAINJOB in os.environ
    run_stage = controller.run if is_trainjob else steps.run
    return run_stage(
        stage,
        section,
        tracking_uri=tracking_uri,
        state=_state(),
        pipeline=os.environ.get(RUN),
        **paths,
    )


def _state() -> Path | None:
    """Folder of the state volume, or None. Raises RefsrError if this user cannot write to it."""
    if STATE not in os.environ:
        return None
    state = Path(os.environ[STATE])
    # Only root can write to many new volumes.
    if state.is_dir() and not os.access(state, os.W_OK):
        raise RefsrError(
            f"{state}: user {os.getuid()} cannot write to this volume; "
            "`kubectl apply -k k8s/state` opens the claim `data` to tasks "
            "(docs/how-to/kubeflow.md)"
        )
    return state


def _path(value: Artifact | list[Any] | str) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [Path(each.path) for each in value]
    return Path(value.path)


def finish(status: Any, tracking_uri: str, image: str) -> None:
    """Close the MLflow run `pipeline` as FINISHED, KILLED, or FAILED.

    A run that is not FINISHED gets the reason as its tag `error`. A server may pass a state that
    is no end: RUNNING, if a task's end was not reported. Then the run is FAILED if a stage failed,
    and otherwise stays open until somebody compares it with Kubeflow (`reconcile`).

    Args:
        status: a kfp.dsl.PipelineTaskFinalStatus.
        tracking_uri: MLflow store.
        image: image of the tasks, stored as a tag.
    """
    ended = status_of(status.state)
    job = status.pipeline_job_resource_name
    run = os.environ.get(RUN) or job
    tags = {"kfp.job": job, KFP_STATE: status.state, "image": image}
    if ended != "FINISHED":
        tags["error"] = status.error_message or f"state {status.state}"
    with exit_with_message():
        if end_pipeline(tracking_uri, run, ended, tags) is None:
            _logger.warning(
                "Kubeflow reports the state %s, which is no end: the MLflow run stays open; "
                "`python -m pipelines reconcile` closes it",
                status.state,
            )


@contextlib.contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn a RefsrError into an exit with its message, in the log and in the Kubeflow UI.

    Tracebacks of other exceptions hold no password.
    """
    sys.excepthook = log.exception
    end_on_sigterm()
    log.set_up()
    try:
        yield
    except StoppedError as error:
        log.error(f"{error}; a retry goes on from there")
        raise SystemExit(StoppedError.STATUS) from None
    except RefsrError as error:
        if TERMINATION.is_file():
            TERMINATION.write_bytes(str(error).encode()[:TERMINATION_BYTES])
        if log.is_json():
            log.error(str(error))
            raise SystemExit(1) from None
        raise SystemExit(f"refsr: error: {error}") from None
