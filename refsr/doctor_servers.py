"""The doctor's checks of servers: MLflow, S3, Kubeflow.

Kubeflow is checked over HTTP, because this package does not import kfp.
"""

from http.client import HTTPException
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

from refsr.errors import RefsrError
from refsr.io.servers import is_server, is_url
from refsr.redaction import hide

PATIENCE = 5.0  # seconds to wait for an answer


class Finding(NamedTuple):
    """The result of one check.

    `fail` must be fixed before the package works; with `warn` it may work.
    """

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    todo: str = ""


def tracking(uri: str) -> Finding:
    """Whether the MLflow store can be opened; a missing SQLite file is not created."""
    if not is_made(uri):
        path = uri.removeprefix("sqlite:///")
        return Finding("mlflow", "ok", f"{path}: not there yet; the first run creates it")
    try:
        from refsr.integrations.mlflow_store import open_store

        open_store(uri)
    except RefsrError as error:
        return _failed("mlflow", error)
    return Finding("mlflow", "ok", f"{hide(uri)} answers")


def _failed(check: str, error: RefsrError) -> Finding:
    message, _, todo = str(error).partition("; ")
    return Finding(check, "fail", message, todo)


def is_made(uri: str) -> bool:
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def runs(uri: str, *, fix: bool = False) -> Finding:
    """Whether dead processes of this machine left runs or models open; `fix` closes them."""
    from refsr.integrations.journaled_run import deliver_left
    from refsr.integrations.tracking import left_open

    try:
        if fix:
            deliver_left(uri, [Path.cwd(), *Path.cwd().glob("*/")])
        left = left_open(uri, close=fix)
    except RefsrError as error:
        return _failed("runs", error)
    messages = []
    if left.runs:
        still = "still RUNNING, though their processes are gone"
        closed = "left open by dead processes: closed as KILLED"
        messages.append(f"{len(left.runs)} {closed if fix else still}")
    if left.models:
        state = "closed as FAILED" if fix else "still PENDING"
        messages.append(f"{len(left.models)} models never finished: {state}")
    if not messages:
        return Finding("runs", "ok", "none is left open by a dead process")
    todo = "the next run closes them, and so does `python -m refsr doctor --fix`"
    return Finding("runs", "ok" if fix else "warn", "; ".join(messages), "" if fix else todo)


def s3(bucket: str) -> Finding:
    """Whether the credentials can list a bucket: "s3://bucket" or "s3://bucket/prefix"."""
    from refsr.io.s3 import ERRORS, new_client

    if not is_url(bucket, "s3"):
        return Finding("s3", "fail", f"{bucket}: not s3://BUCKET", "name the bucket so")
    place = urlsplit(bucket)
    prefix = place.path.lstrip("/")
    try:
        client = new_client(timeout=PATIENCE)
        listing = client.list_objects_v2(Bucket=place.netloc, Prefix=prefix, MaxKeys=1)
    except ERRORS as error:
        variables = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL"
        todo = f"check {variables} and the name of the bucket"
        return Finding("s3", "fail", f"{bucket}: {error}", todo)
    if not listing.get("KeyCount"):
        message = f"{bucket}: can be listed, and is empty"
        return Finding("s3", "warn", message, "check the prefix, or upload something")
    return Finding("s3", "ok", f"{bucket}: can be listed")


def kubeflow(endpoint: str) -> Finding:
    """Whether the Kubeflow Pipelines API answers and accepts the bearer token KFP_TOKEN."""
    from refsr.integrations.kubeflow_api import require_api

    forward = "kubectl port-forward svc/ml-pipeline 8888"
    todo = f"set KFP_ENDPOINT to the API: http://127.0.0.1:8888 with `{forward}`"
    if not is_server(endpoint):
        return Finding("kubeflow", "fail", f"{endpoint}: not http(s)://HOST:PORT", todo)
    try:
        require_api(endpoint)
    except HTTPError as error:
        message = f"{endpoint}: {error.code} {error.reason}"
        return Finding("kubeflow", "fail", message, "check KFP_TOKEN and the address")
    except RefsrError as error:
        return _failed("kubeflow", error)
    except (OSError, HTTPException, ValueError) as error:
        return Finding("kubeflow", "fail", f"{endpoint}: no answer ({error})", todo)
    return Finding("kubeflow", "ok", f"{endpoint} answers")


def pipelines(uri: str, endpoint: str, *, fix: bool = False) -> Finding:
    """Whether runs that have ended at Kubeflow are open in MLflow; `fix` closes them."""
    from refsr.integrations.kubeflow_api import run_state
    from refsr.integrations.pipeline_runs import ended_pipelines

    try:
        ended = ended_pipelines(uri, lambda run: run_state(endpoint, run), close=fix)
    except RefsrError as error:
        return _failed("pipelines", error)
    if not ended:
        return Finding("pipelines", "ok", "no run that has ended at Kubeflow is open in MLflow")
    done = "closed" if fix else "have ended at Kubeflow and are still RUNNING in MLflow"
    runs = ", ".join(f"{each.pipeline} ({each.state})" for each in ended)
    todo = "" if fix else "`python -m refsr doctor --fix` closes them"
    return Finding("pipelines", "ok" if fix else "warn", f"{len(ended)} {done}: {runs}", todo)
