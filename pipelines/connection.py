"""The target of runs (endpoint, namespace, image, MLflow store), and a client of the KFP API."""

import argparse
import contextlib
import json
import os
import re
import urllib.error
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import kfp
from kfp.client import (
    KF_PIPELINES_SA_TOKEN_ENV,
    KF_PIPELINES_SA_TOKEN_PATH,
    ServiceAccountTokenVolumeCredentials,
)
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from pipelines.cluster import Target
from pipelines.cluster_types import OBJECT_NAME
from refsr.errors import RefsrError
from refsr.integrations.kubeflow_api import require_api, token_of_user
from refsr.io.paths import path_option
from refsr.io.servers import is_server

VARIABLES = {
    "endpoint": "KFP_ENDPOINT",
    "namespace": "KFP_NAMESPACE",
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "image": "REFSR_IMAGE",
}
_CHECK = "check the address, that the port is forwarded, and KFP_TOKEN"
WAYS_OUT = {  # by HTTP status
    401: (
        "set KFP_TOKEN: kubectl -n NAMESPACE create token default-editor "
        "--audience=pipelines.kubeflow.org"
    ),
    403: "pass --namespace, and a token of somebody who may do this there",
    404: "check the id, --endpoint and --namespace",
}
CLUSTER_HELP = (
    "cluster file, YAML that you write: target, and resources of tasks; for example "
    "k8s/overlays/local/cluster.yaml, or one with `tasks: {evaluate: {gpus: 0}}` "
    "(docs/how-to/kubeflow.md)"
)
EPILOG = (
    "An option overrides the environment variable beside it; both override `target` of the "
    "cluster file. The bearer token comes from KFP_TOKEN; there is no option for it, so that no "
    "shell history holds it. In a pod, the projected token of its service account is used."
)


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the target."""
    add = parser.add_argument
    add("--endpoint", help="Kubeflow Pipelines API, http(s)://... (KFP_ENDPOINT)")
    add("--namespace", help="namespace of the run; none for single-user KFP (KFP_NAMESPACE)")
    add("--tracking-uri", help="MLflow server as pods reach it (MLFLOW_TRACKING_URI)")
    add("--image", help="image of the pods (default tag: the git revision) (REFSR_IMAGE)")
    add("--cluster", type=path_option, metavar="FILE", help=CLUSTER_HELP)
    parser.epilog = EPILOG


def resolve(options: argparse.Namespace, target: Target) -> Target:
    """Each field from its option, else its environment variable, else the cluster file."""
    values = {
        field: getattr(options, field, None) or os.environ.get(variable) or getattr(target, field)
        for field, variable in VARIABLES.items()
    }
    if (namespace := values["namespace"]) and not re.fullmatch(OBJECT_NAME, namespace):
        raise RefsrError(
            f"--namespace {namespace}: no name of a namespace; it has a-z, 0-9 and -, and at most "
            "63 of them"
        )
    return Target.model_validate(values)


def require(target: Target, field: str) -> str:
    """The value of a field. Raises RefsrError if it is not set, naming the places to set it."""
    value: str | None = getattr(target, field)
    if not value:
        option = f"--{field.replace('_', '-')}"
        raise RefsrError(
            f"{option} is required: pass it, set {VARIABLES[field]}, "
            f"or set target.{field} in the cluster file"
        )
    return value


def endpoint_of(target: Target) -> str:
    """The URL of the API. Raises RefsrError if it is not one."""
    endpoint = require(target, "endpoint")
    if not is_server(endpoint):
        raise RefsrError(
            f"--endpoint {endpoint}: not an http(s):// URL; pass http://HOST:PORT, without ? and #"
        )
    return endpoint.rstrip("/")


@contextlib.contextmanager
def api(target: Target) -> Iterator[kfp.Client]:
    """A client while the block runs. Raises RefsrError if the API does not respond, or refuses."""
    endpoint = endpoint_of(target)
    _require_response(endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns of servers older than the first v2
        try:
            token = token_of_user() or None
            credentials = None if token else service_account()
            yield kfp.Client(endpoint, existing_token=token, credentials=credentials)
        except ApiException as error:
            raise RefsrError(f"--endpoint {endpoint}: {explain(error)}") from error
        except HTTPError as error:
            raise RefsrError(f"--endpoint {endpoint}: {_no_response(error)}") from error


def id_of(document: Any, field: str) -> str:
    """The id that the API gives a thing. Raises RefsrError if the answer is none of the API."""
    value = getattr(document, field, None)
    if not value:
        raise RefsrError(f"the answer has no {field}: it is none of Kubeflow Pipelines; {_CHECK}")
    return str(value)


def explain(error: ApiException) -> str:
    """Status and message of a refusal, and the way out if one is known."""
    message = error.body or error.reason
    with contextlib.suppress(ValueError, TypeError, KeyError):
        message = json.loads(error.body)["message"]
    way_out = f"; {WAYS_OUT[error.status]}" if error.status in WAYS_OUT else ""
    return f"{error.status}: {message}{way_out}"


def service_account() -> ServiceAccountTokenVolumeCredentials | None:
    """The credentials of this pod, if a token for Kubeflow Pipelines is projected into it."""
    path = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    return ServiceAccountTokenVolumeCredentials(str(path)) if path.is_file() else None


def _require_response(endpoint: str) -> None:
    """Fail at once if the API does not respond: the client itself retries for minutes."""
    try:
        require_api(endpoint)
    except urllib.error.HTTPError as error:
        refusal = ApiException(error.code, error.reason)
        raise RefsrError(f"--endpoint {endpoint}: {explain(refusal)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise RefsrError(f"--endpoint {endpoint}: {_no_response(error)}") from error


def _no_response(error: Exception) -> str:
    message = error if isinstance(error, ValueError) else f"no response ({error})"
    return f"{message}; {_CHECK}"
