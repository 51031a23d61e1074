"""The states of Kubeflow's runs, MLflow's status of each end, and the link to a run.

One run is reported in several vocabularies: V2beta1RuntimeState by the API, the states of ML
Metadata by the final status that a server passes to an exit handler, SUCCEEDED, FAILED and
CANCELLED by the SDK, and the phases of Argo Workflows.
"""

import os
from typing import NamedTuple

UI = "KFP_UI"  # environment variable: URL of Kubeflow's pages
STATUSES = {  # MLflow's status: the states that are this end
    "FINISHED": ("SUCCEEDED", "COMPLETE", "CACHED", "SKIPPED", "OMITTED"),
    "FAILED": ("FAILED", "ERROR"),
    "KILLED": ("CANCELED", "CANCELLED"),
}
_STATUS = {state: status for status, states in STATUSES.items() for state in states}


class RunState(NamedTuple):
    """What Kubeflow reports of a run."""

    state: str
    error: str = ""


def status_of(state: str | None) -> str | None:
    """MLflow's status of a run in this state; None for a state that is no end, or is unknown."""
    return _STATUS.get((state or "").upper())


def link_to(pipeline: str) -> dict[str, str]:
    """The tag with the page of a Kubeflow run; none where KFP_UI is not set."""
    pages = os.environ.get(UI)
    return {"kfp.url": f"{pages}/#/runs/details/{pipeline}"} if pages else {}
