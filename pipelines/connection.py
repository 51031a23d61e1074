"""Where runs go: endpoint, namespace, image and store, and a client that may enter."""

import argparse
import contextlib
import os
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH, ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException

from pipelines.cluster import Target
from refsr.errors import RefsrError
from refsr.io.paths import path_option
from refsr.redaction import without_userinfo

PATIENCE = 10.0  # seconds
VARIABLES = {
    "endpoint": "KFP_ENDPOINT",
    "namespace": "KFP_NAMESPACE",
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "image": "REFSR_IMAGE",
}


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where a run goes; the rest is asked of the environment and the cluster file."""
    parser.add_argument("--endpoint", help="Kubeflow Pipelines API, http(s)://... (KFP_ENDPOINT)")
    parser.add_argument("--namespace", help="namespace of the run; none: single-user KFP (KFP_NAMESPACE)")
    parser.add_argument("--tracking-uri", help="MLflow server, as pods see it (MLFLOW_TRACKING_URI)")
    parser.add_argument("--image", help="image of the pods; its tag is the git revision unless given (REFSR_IMAGE)")
    parser.add_argument("--cluster", type=path_option, help="cluster file: where it is, and what tasks ask for")
    parser.epilog = (
        "An option comes before the environment variable beside it, and that before `target` of the cluster file. "
        "KFP_TOKEN, if set, is the bearer token: no option, so that no shell history has it. In a pod, its service "
        "account's projected token is used."
    )


def resolve(options: argparse.Namespace, target: Target) -> Target:
    """Where a run goes: each field from its option, else its environment variable, else the cluster file."""
    told = {
        field: getattr(options, field, None) or os.environ.get(variable) or getattr(target, field)
        for field, variable in VARIABLES.items()
    }
    return Target.model_validate(told)


def require(target: Target, field: str) -> str:
    """A field that must be known. Raises RefsrError naming the places where it may be told."""
    value: str | None = getattr(target, field)
    if not value:
        option = f"--{field.replace('_', '-')}"
        raise RefsrError(f"{option}: not told; give it, or {VARIABLES[field]}, or target.{field} of the cluster file")
    return value


def endpoint_of(target: Target) -> str:
    """The API's address. Raises RefsrError where it is none."""
    endpoint = require(target, "endpoint").rstrip("/")
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise RefsrError(f"--endpoint {endpoint}: not http(s)://...")
    return endpoint


@contextlib.contextmanager
def api(target: Target) -> Iterator[kfp.Client]:
    """A client while the block runs. Raises RefsrError where nobody answers, or what was asked is refused."""
    endpoint = endpoint_of(target)
    _require_answer(endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns of servers older than the first v2
        try:
            token = os.environ.get("KFP_TOKEN")
            credentials = None if token else service_account()
            yield kfp.Client(endpoint, existing_token=token, credentials=credentials)
        except ApiException as error:
            raise RefsrError(f"--endpoint {endpoint}: {error.status} {error.reason}: {error.body}") from error


def service_account() -> ServiceAccountTokenVolumeCredentials | None:
    """The credentials of the pod this runs in, where a token for Kubeflow Pipelines is projected into it."""
    path = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    return ServiceAccountTokenVolumeCredentials(str(path)) if path.is_file() else None


def _require_answer(endpoint: str) -> None:
    """The client tries for minutes to reach a server; whether one answers at all is known at once."""
    try:
        urlopen(without_userinfo(endpoint) + "/apis/v2beta1/healthz", timeout=PATIENCE).close()  # noqa: S310 - the scheme is known
    except HTTPError:
        return  # whatever it says, it is there
    except (OSError, HTTPException) as error:
        raise RefsrError(f"--endpoint {endpoint}: no answer ({error}); name the API with --endpoint") from error
