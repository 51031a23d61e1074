"""The manifests can be applied as they are, and what must not reach a cluster is refused."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.trainjob.controller import JOBS
from pipelines.cluster import load_cluster
from tools.manifests import K8S, folders, problems, render

Manifests = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Manifests]:
    if shutil.which("kubectl") is None:
        pytest.skip("NOT TESTED, the manifests of k8s/: kubectl is not on the PATH")
    return {folder: render(folder) for folder in folders()}  # type: ignore[misc]


def test_no_overlay_has_a_fault(rendered: dict[str, Manifests]) -> None:
    assert {folder: problems(manifests) for folder, manifests in rendered.items()} == {
        "overlays/gpu": [],
        "overlays/local": [],
        "restore": [],
        "restore-s3": [],
        "state": [],
    }


def _of(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"].startswith(name))
    return found


def _server(manifests: Manifests) -> dict[str, Any]:
    container: dict[str, Any] = _of(manifests, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]
    return container


FAULTS: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "latest": (lambda m: _server(m).update(image="refsr:latest"), "no tag that stays"),
    "no tag": (lambda m: _server(m).update(image="registry:5000/refsr"), "no tag that stays"),
    "no limit": (lambda m: _server(m)["resources"].pop("limits"), "no limit of memory"),
    "root": (lambda m: _server(m)["securityContext"].update(runAsUser=0), "may run as root"),
    "writable": (lambda m: _server(m)["securityContext"].pop("readOnlyRootFilesystem"), "can be written"),
    "rights": (lambda m: _server(m)["securityContext"].pop("capabilities"), "may gain rights"),
    "misspelt": (lambda m: _server(m).update(imagePolicy="Always"), "imagePolicy"),
    "secret": (lambda m: _of(m, "Secret", "refsr")["data"].update({"database-password": "eA=="}), "database-password"),
    "password": (lambda m: _server(m)["env"].append({"name": "DB_PASSWORD", "value": "x"}), "DB_PASSWORD"),
    "unknown kind": (lambda m: _of(m, "Service", "mlflow").update(kind="Sevrice"), "kind unknown"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, rendered: dict[str, Manifests]) -> None:
    spoil, told = FAULTS[fault]
    manifests = copy.deepcopy(rendered["overlays/local"])
    spoil(manifests)
    assert any(told in problem for problem in problems(manifests))


def test_an_external_secret_is_held_to_its_schema(rendered: dict[str, Manifests]) -> None:
    manifests = copy.deepcopy(rendered["overlays/gpu"])
    _of(manifests, "ExternalSecret", "refsr")["spec"]["data"][0]["remoteReff"] = {}
    assert any("remoteReff" in problem for problem in problems(manifests))


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/gpu"])
def test_secrets_that_are_asked_for_are_made(folder: str, rendered: dict[str, Manifests]) -> None:
    """The keys pods take from the Secret are those the overlay brings."""
    manifests = rendered[folder] + rendered["restore-s3"]
    asked = {(ref["name"], ref["key"]) for ref in _found(manifests, "secretKeyRef")}
    made = set()
    for each in manifests:
        if each["kind"] == "Secret":
            made |= {(each["metadata"]["name"], key) for key in each["data"]}
        if each["kind"] == "ExternalSecret":
            made |= {(each["spec"]["target"]["name"], entry["secretKey"]) for entry in each["spec"]["data"]}
    assert asked == made


def test_a_pod_waits_for_the_database_before_it_asks_anything_of_it(rendered: dict[str, Manifests]) -> None:
    """Where policies are enforced, a new pod is let through some seconds late."""
    for folder, kind, name in (("overlays/local", "CronJob", "backup"), ("restore", "Job", "restore")):
        (script,) = _found([_of(rendered[folder], kind, name)["spec"]], "command")
        assert "until pg_isready" in script[2].splitlines()[0], folder


def _found(value: Any, key: str) -> list[Any]:
    """Every value of `key`, at any depth."""
    if isinstance(value, list):
        return [found for each in value for found in _found(each, key)]
    if isinstance(value, dict):
        return [*([value[key]] if key in value else []), *(f for each in value.values() for f in _found(each, key))]
    return []


def test_mlflow_answers_to_the_names_its_clients_use(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        hosts = _of(rendered[folder], "ConfigMap", "mlflow")["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert {"mlflow:5000", "mlflow.refsr:5000", "mlflow.refsr.svc.cluster.local:5000"} <= set(hosts)


def test_everything_is_closed_but_for_what_is_opened(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        closed = _of(rendered[folder], "NetworkPolicy", "default-deny")["spec"]
        assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_no_manifest_comes_from_elsewhere() -> None:
    for path in K8S.rglob("kustomization.yaml"):
        assert "://" not in path.read_text().replace("s3://", "").replace("http://seaweedfs", ""), path


def test_the_cluster_file_of_the_gpu_overlay_is_one() -> None:
    assert load_cluster(Path(K8S / "overlays/gpu/cluster.yaml")).gpu.node_selector


def test_tasks_may_do_with_trainjobs_what_a_hand_over_does_and_nothing_else(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        (role,) = (each for each in rendered[folder] if each["kind"] == "Role")
        (rule,) = role["rules"]
        assert rule["apiGroups"] == [JOBS["group"]]
        assert rule["resources"] == [JOBS["plural"]]
        assert set(rule["verbs"]) == {"create", "get", "delete"}
