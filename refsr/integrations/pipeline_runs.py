"""End the MLflow runs of pipelines, also those whose exit handler never ran.

A cancelled Kubeflow run ends before its exit handler: its MLflow runs stay RUNNING until somebody
compares them with Kubeflow.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from refsr.integrations import dead_runs
from refsr.integrations.kubeflow_states import RunState, status_of
from refsr.integrations.local_store import store_error, store_file
from refsr.integrations.mlflow_store import MISSING, MODEL_PAGES, explained, ignored, open_store
from refsr.integrations.tracking import (
    ERROR_LENGTH,
    EXPERIMENT,
    PARENT,
    PIPELINE,
    MlflowTracker,
    experiment_id,
    pipeline_run,
)
from refsr.redaction import hide, without_userinfo

FIND = Callable[[str], RunState | None]
STATE, ERROR = "kfp.state", "error"  # tags
_OPEN = f"attributes.status = 'RUNNING' and tags.`{PIPELINE}` LIKE '%'"


class Ended(NamedTuple):
    """A pipeline that has ended at Kubeflow, though its MLflow run is open."""

    pipeline: str  # id of the Kubeflow run
    state: str  # at Kubeflow
    status: str  # that MLflow's run is to have


def end_pipeline(
    tracking_uri: str,
    pipeline: str,
    status: str | None,
    tags: Mapping[str, str],
) -> str | None:
    """End the run of a pipeline; it is created if none of its stages ran.

    Runs of its stages that are still open are closed as KILLED: no task is left that could.

    Args:
        tracking_uri: The store.
        pipeline: The id of the pipeline.
        status: FINISHED, FAILED or KILLED; None if Kubeflow's state is no end. Then the run is
            FAILED if a stage failed in its last try, and stays open otherwise.
        tags: Tags to set on the run; passwords are masked, long values are cut.

    Returns:
        The status of the run; None if it stays open.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    client = open_store(tracking_uri).MlflowClient()
    with explained(tracking_uri):
        experiment = experiment_id(client)
        run = pipeline_run(client, pipeline)
        children = _children(client, experiment, run)
        if status is None and any(_has_failed(child) for child in _last_tries(children)):
            status = "FAILED"
        _close_stages(client, experiment, children)
        _end(client, run, status, tags)
    return status


def describe_pipeline(tracking_uri: str, pipeline: str, metrics: Mapping[str, float]) -> str:
    """Record metrics on the run of a pipeline.

    Returns:
        The run's page at an MLflow server; the id of the run in another store.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    client = open_store(tracking_uri).MlflowClient()
    with explained(tracking_uri):
        run = pipeline_run(client, pipeline)
        tracker = MlflowTracker(client, tracking_uri, run)
        tracker.metrics(metrics)
        tracker.flush()
        page = f"#/experiments/{experiment_id(client)}/runs/{run}{MODEL_PAGES}"
    is_server = tracking_uri.startswith(("http://", "https://"))
    return f"{without_userinfo(tracking_uri).rstrip('/')}/{page}" if is_server else run


def metrics_of(tracking_uri: str, pipeline: str) -> dict[str, float]:
    """The metrics on the run of a pipeline, see `describe_pipeline`.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    client = _existing(tracking_uri)
    with explained(tracking_uri):
        runs = _search(client, f"tags.`{PIPELINE}` = '{pipeline}'")
    return dict(runs[0].data.metrics) if runs else {}


def record_end(tracking_uri: str, pipeline: str, end: RunState) -> str | None:
    """Give the MLflow run of a pipeline the status of its Kubeflow run, which has ended.

    Returns:
        The status if it was changed, or the run was open; None if there was nothing to do.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    status = status_of(end.state)
    client = _existing(tracking_uri)
    with explained(tracking_uri):
        runs = _search(client, f"tags.`{PIPELINE}` = '{pipeline}'")
        changed = [run for run in runs if status and run.info.status != status]
        for run in changed:
            _record(client, run, end)
    return status if changed else None


def ended_pipelines(tracking_uri: str, find: FIND, *, close: bool = False) -> list[Ended]:
    """The pipelines that have ended at Kubeflow, though their MLflow run is open.

    A run that Kubeflow does not know stays open: another cluster or machine may have it.

    Args:
        tracking_uri: The store.
        find: Returns what Kubeflow reports of a run; None if it does not know the run.
        close: End their MLflow runs.

    Raises:
        RefsrError: The store cannot be opened, or fails.
    """
    client = _existing(tracking_uri)
    ended = []
    with explained(tracking_uri):
        for run in _search(client, _OPEN):
            pipeline = run.data.tags[PIPELINE]
            end = find(pipeline)
            status = status_of(end.state) if end else None
            if not end or not status:
                continue
            ended.append(Ended(pipeline, end.state, status))
            if close:
                _record(client, run, end)
    return ended


def _existing(tracking_uri: str) -> Any:
    """A client of a store. Raises RefsrError where its file is missing: it would be made, empty."""
    path = store_file(tracking_uri)
    if path and not path.is_file():
        raise store_error(tracking_uri, "no such file; check the path")
    return open_store(tracking_uri).MlflowClient()


def _search(client: Any, where: str) -> list[Any]:
    """Runs of the experiment, which is not created here."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], where)) if experiment else []


def _record(client: Any, ended: Any, end: RunState) -> None:
    run, experiment = ended.info.run_id, ended.info.experiment_id
    status = status_of(end.state)
    tags = {STATE: end.state}
    if status != "FINISHED":
        tags[ERROR] = end.error or f"state {end.state}"
    _close_stages(client, experiment, _children(client, experiment, run))
    _end(client, run, status, tags)


def _end(client: Any, run: str, status: str | None, tags: Mapping[str, str]) -> None:
    short = {key: hide(value)[:ERROR_LENGTH] for key, value in tags.items()}
    MlflowTracker(client, client.tracking_uri, run).tags(short)
    if status == "FINISHED":
        with ignored(MISSING):
            client.delete_tag(run, ERROR)  # of an end before a retry
    if status:
        client.set_terminated(run, status)


def _children(client: Any, experiment: str, run: str) -> list[Any]:
    """The runs of the stages, oldest first."""
    where = f"tags.`{PARENT}` = '{run}'"
    return list(client.search_runs([experiment], where, order_by=["attributes.start_time ASC"]))


def _last_tries(children: list[Any]) -> list[Any]:
    tries = {child.data.tags.get(dead_runs.TASK, child.info.run_id): child for child in children}
    return list(tries.values())


def _has_failed(run: Any) -> bool:
    return str(run.info.status) == "FAILED"


def _close_stages(client: Any, experiment: str, children: list[Any]) -> None:
    still_open = [child.info.run_id for child in children if child.info.status == "RUNNING"]
    dead_runs.close(client, dead_runs.left_by(client, [experiment], still_open))
