"""Requests to the Kubeflow Pipelines API without kfp, which this package does not import."""

import json
import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from refsr.errors import RefsrError
from refsr.integrations.kubeflow_states import RunState
from refsr.redaction import without_userinfo

TIMEOUT = 5.0  # seconds
TOKEN_PATH = Path("/var/run/secrets/kubeflow/pipelines/token")  # projected into a pod


def get(endpoint: str, path: str) -> bytes:
    """The response to GET. Raises HTTPError, OSError or HTTPException."""
    url = f"{without_userinfo(endpoint).rstrip('/')}/apis/v2beta1/{path}"
    request = Request(url, headers=_headers())  # noqa: S310 - callers check the scheme
    with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        body: bytes = response.read()
    return body


def token_of_user() -> str:
    """The variable KFP_TOKEN, or "". Raises RefsrError where it cannot be sent."""
    token = os.environ.get("KFP_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise RefsrError(
            "KFP_TOKEN: holds a space, a line break or another character that no token has; "
            "set it to what `kubectl -n NAMESPACE create token ...` prints"
        )
    return token


def _headers() -> dict[str, str]:
    """The bearer token: KFP_TOKEN, else that of this pod's service account."""
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN_PATH)
    token = token_of_user() or (path.read_text().strip() if path.is_file() else "")
    return {"Authorization": f"Bearer {token}"} if token else {}


def require_api(endpoint: str) -> None:
    """Raises an error of `get`, or ValueError where what answers sends no JSON: a login page."""
    try:
        answer = json.loads(get(endpoint, "healthz"))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError("not the API of Kubeflow Pipelines, or a login page before it")


def run_state(endpoint: str, run: str) -> RunState | None:
    """What Kubeflow reports of a run; None if it does not know the run.

    Raises:
        RefsrError: The API does not respond, or refuses.
    """
    try:
        return _parse(get(endpoint, f"runs/{quote(run, safe='')}"))
    except HTTPError as error:
        if error.code == 404:
            return None
        reason = f"{error.code} {error.reason}"
        raise RefsrError(f"{endpoint}: {reason}; check KFP_TOKEN and the address") from error
    except (OSError, HTTPException, ValueError) as error:
        raise RefsrError(f"{endpoint}: no answer ({error}); check KFP_ENDPOINT") from error


def _parse(body: bytes) -> RunState:
    """State and error of a run. Raises ValueError for anything but a run."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the response is no run")
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else ""
    return RunState(str(document.get("state") or ""), str(message or ""))
