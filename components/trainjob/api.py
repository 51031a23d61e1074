"""The Kubernetes API of TrainJobs: get, create and delete one job."""

import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

from refsr.errors import RefsrError

RESOURCE: dict[str, Any] = {
    "group": "trainer.kubeflow.org",
    "version": "v1alpha1",
    "plural": "trainjobs",
}
TIMEOUT = 30.0  # seconds
WAYS_OUT = {  # by HTTP status
    400: "the cluster's Trainer has other fields; install 2.3 or later (docs/how-to/kubeflow.md)",
    401: "the cluster does not know the task's service account",
    403: (
        "allow the task's service account to create, get and delete TrainJobs, "
        "as k8s/base/accounts.yaml does"
    ),
    404: "install Kubeflow Trainer, or check the namespace",
}


class TrainJobApi:
    """One TrainJob, by namespace and name. Methods raise RefsrError if the API refuses."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self._client = self._connect()

    def __str__(self) -> str:
        return f"TrainJob {self.namespace}/{self.name}"

    def get(self) -> dict[str, Any] | None:
        """The job with its status, or None."""
        call = self._client.get_namespaced_custom_object
        job: dict[str, Any] | None = self._request("get", call, name=self.name)
        return job

    def create(self, body: dict[str, Any]) -> None:
        """Create the job; the API refuses fields that it does not know."""
        call = self._client.create_namespaced_custom_object
        self._request("create", call, body=body, field_validation="Strict")

    def delete(self) -> None:
        """Delete the job; a missing one is no error.

        Propagation is Foreground: the job exists until its pods have ended.
        """
        call = self._client.delete_namespaced_custom_object
        self._request("delete", call, name=self.name, propagation_policy="Foreground")

    def _connect(self) -> Any:
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException:  # not in a pod
            try:
                config.load_kube_config(os.environ.get("KUBECONFIG"))
            except config.ConfigException as error:
                raise RefsrError(
                    f"{self}: this process is not in a pod, and KUBECONFIG names no cluster "
                    f"({error}); set KUBECONFIG to a kubeconfig file"
                ) from error
        return client.CustomObjectsApi()

    def _request(self, verb: str, call: Callable[..., Any], **arguments: Any) -> Any:
        """The API's response; None for a missing object that is read or deleted."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        arguments |= RESOURCE | {"namespace": self.namespace, "_request_timeout": TIMEOUT}
        try:
            return call(**arguments)
        except ApiException as error:
            if error.status == 404 and verb != "create":
                return None
            reason = _explain(error)
        except HTTPError as error:
            reason = f"no response from the Kubernetes API ({error})"
        raise RefsrError(f"{self}: cannot {verb} it: {reason}")


def _explain(error: Any) -> str:
    """Status and reason of an ApiException, and the way out if one is known."""
    reason = error.reason
    with contextlib.suppress(ValueError, TypeError, KeyError):
        reason = json.loads(error.body)["message"]
    way_out = f"; {WAYS_OUT[error.status]}" if error.status in WAYS_OUT else ""
    return f"{error.status}: {reason}{way_out}"
