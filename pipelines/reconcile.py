"""Give the MLflow run of a pipeline the state of its Kubeflow run."""

import argparse
import logging
from typing import Any

import kfp
from kfp_server_api import ApiException

from pipelines.cluster import Target, load_cluster
from pipelines.connection import api, require, resolve
from refsr.errors import RefsrError
from refsr.integrations.kubeflow_states import RunState, status_of
from refsr.integrations.pipeline_runs import ended_pipelines, record_end

_logger = logging.getLogger(__name__)


def reconcile(options: argparse.Namespace) -> None:
    """Close the MLflow runs of pipelines that have ended at Kubeflow, of cancelled runs too."""
    target = resolve(options, load_cluster(options.cluster).target)
    tracking_uri = require(target, "tracking_uri")
    with api(target) as client:
        ended = ended_pipelines(tracking_uri, lambda run: _find(client, run), close=True)
    for each in ended:
        print(f"{each.pipeline}: {each.state} at Kubeflow, closed in MLflow as {each.status}")
    if not ended:
        print("no run that has ended at Kubeflow is open in MLflow")


def _find(client: kfp.Client, run: str) -> RunState | None:
    try:
        return state_of(client.get_run(run))
    except ApiException as error:
        if error.status != 404:
            raise
    return None


def state_of(run: Any) -> RunState:
    """State and error of a run as the API returns it."""
    return RunState(run.state or "", (run.error and run.error.message) or "")


def has_ended(run: Any) -> bool:
    """Whether the state of a run is an end."""
    return status_of(run.state) is not None


def record(run: Any, target: Target) -> None:
    """Close the MLflow run of a run that has ended; a store out of reach is a warning."""
    if not target.tracking_uri:
        return
    try:
        status = record_end(target.tracking_uri, run.run_id, state_of(run))
    except RefsrError as error:
        _logger.warning(
            "the MLflow run of %s was not checked: %s; pass --tracking-uri as this machine "
            "reaches it, or run `python -m pipelines reconcile` where it is reachable",
            run.run_id,
            error,
        )
        return
    if status:
        print(f"{run.run_id}: closed in MLflow as {status}")
