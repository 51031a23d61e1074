"""Faulty manifests and objects are refused, by rules and by the types of their servers."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helpers import run_in
from manifest_queries import Manifests, of

from tools import crd_schema
from tools.manifests import K8S, generated, problems


def _server(manifests: Manifests) -> dict[str, Any]:
    container: dict[str, Any] = of(manifests, "Deployment", "mlflow")["spec"]["template"]["spec"][
        "containers"
    ][0]
    return container


def _spec(manifests: Manifests) -> dict[str, Any]:
    pod: dict[str, Any] = of(manifests, "Deployment", "mlflow")["spec"]["template"]["spec"]
    return pod


def _pod(manifests: Manifests) -> dict[str, Any]:
    return _spec(manifests)["securityContext"]  # type: ignore[no-any-return]


FAULTS: dict[str, tuple[Callable[[Manifests], Any], str]] = {
    "latest": (lambda m: _server(m).update(image="refsr:latest"), "no immutable tag"),
    "no tag": (lambda m: _server(m).update(image="registry:5000/refsr"), "no immutable tag"),
    "no limit": (lambda m: _server(m)["resources"].pop("limits"), "no limit of memory"),
    "root": (lambda m: _server(m)["securityContext"].update(runAsUser=0), "can run as root"),
    "writable": (
        lambda m: _server(m)["securityContext"].pop("readOnlyRootFilesystem"),
        "is writable",
    ),
    "rights": (lambda m: _server(m)["securityContext"].pop("capabilities"), "can gain privileges"),
    "misspelt": (lambda m: _server(m).update(imagePolicy="Always"), "imagePolicy"),
    "seccomp": (lambda m: _pod(m).pop("seccompProfile"), "no seccomp profile"),
    "secret": (
        lambda m: of(m, "ConfigMap", "mlflow").update(
            kind="Secret", data={"database-password": "eA=="}
        ),
        "database-password",
    ),
    "password": (
        lambda m: _server(m)["env"].append({"name": "DB_PASSWORD", "value": "x"}),
        "DB_PASSWORD",
    ),
    "node": (lambda m: _spec(m).update(hostNetwork=True), "hostNetwork: shares the node's"),
    "node's files": (
        lambda m: _spec(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "hostPath is not restricted",
    ),
    "privileged": (
        lambda m: _server(m)["securityContext"].update(privileged=True),
        "can gain privileges",
    ),
    "unknown kind": (lambda m: of(m, "Service", "mlflow").update(kind="Sevrice"), "unknown kind"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(fault: str, rendered: dict[str, Manifests]) -> None:
    damage, expected = FAULTS[fault]
    before = rendered["overlays/local"]
    manifests = copy.deepcopy(before)
    damage(manifests)
    (damaged,) = [each for each in manifests if each not in before]
    assert any(expected in problem for problem in problems([damaged]))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda each: each["spec"]["predictor"].update(maxReplica=1), "maxReplica"),
        (lambda each: _predictor(each).update(imagePolicy="Always"), "imagePolicy"),
        (lambda each: _predictor(each).update(image="refsr:latest"), "no immutable tag"),
        (lambda each: _predictor(each)["securityContext"].clear(), "is writable"),
    ],
)
def test_a_fault_of_the_inference_service_is_reported(
    damage: Callable[[Any], Any], expected: str, rendered: dict[str, Manifests]
) -> None:
    manifests = copy.deepcopy(rendered["serve-kserve"])
    damage(of(manifests, "InferenceService", "refsr"))
    assert any(expected in problem for problem in problems(manifests))


def _predictor(service: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = service["spec"]["predictor"]["containers"][0]
    return container


@pytest.fixture(scope="module")
def made() -> Manifests:
    return generated()  # type: ignore[return-value]


def test_generated_objects_match_the_types_of_their_servers(made: Manifests) -> None:
    assert [each["kind"] for each in made] == ["Pipeline", "PipelineVersion", "TrainJob"]
    assert problems(made) == []


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("Pipeline", lambda spec: spec.update(unknown=1)),
        ("PipelineVersion", lambda spec: spec.update(unknown=1)),
        ("PipelineVersion", lambda spec: spec.pop("pipelineSpec")),
        ("TrainJob", lambda spec: spec["trainer"].update(unknown=1)),
        ("TrainJob", lambda spec: _node(spec).update(unknown=1)),
        ("TrainJob", lambda spec: spec["trainer"].update(numNodes="two")),
    ],
)
def test_a_wrong_field_of_a_generated_object_is_refused(
    kind: str, damage: Callable[[Any], Any], made: Manifests
) -> None:
    object_ = copy.deepcopy(of(made, kind, ""))
    damage(object_["spec"])
    (problem,) = problems([object_])
    assert any(word in problem for word in ("unknown", "pipelineSpec", "two"))


def _node(spec: dict[str, Any]) -> Any:
    """The container of a node in the patch of a TrainJob's runtime."""
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]["containers"][0]


def test_an_external_secret_is_checked_by_its_schema(rendered: dict[str, Manifests]) -> None:
    manifests = copy.deepcopy(rendered["overlays/gpu"])
    of(manifests, "ExternalSecret", "refsr")["spec"]["data"][0]["remoteReff"] = {}
    assert any("remoteReff" in problem for problem in problems(manifests))


def test_each_schema_says_where_it_is_from() -> None:
    for path in (K8S / "schemas").iterdir():
        assert re.search(r" from \S+/\S+ [\d.]+, commit [0-9a-f]{12}, ", path.read_text()), path


def test_a_schema_is_made_of_a_definition() -> None:
    text = """
spec:
  group: example.com
  names: {kind: Thing}
  versions:
    - name: v1
      schema:
        openAPIV3Schema:
          properties:
            spec:
              type: object
              description: left out
              required: [size]
              properties:
                size: {x-kubernetes-int-or-string: true, description: left out}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {}}
            status: {type: object}
"""
    schema = json.loads(crd_schema.schema_of(text, "v1", "example/things 1.0"))
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {}}
    assert "left out" not in json.dumps(schema)
    for spec, is_valid in (
        ({"size": "1Gi", "free": {"any": 1}}, True),
        ({"size": 1, "other": 1}, False),
        ({}, False),
    ):
        faults = list(jsonschema.Draft202012Validator(schema).iter_errors(thing | {"spec": spec}))
        assert bool(faults) is not is_valid, spec


# What a server of 2.17 makes of a task: kubeflow/pipelines, backend/src/v2/compiler/argocompiler
# (container.go, security_context.go), and the settings of a package in backend/src/v2/driver.
TASK = """
apiVersion: v1
kind: Pod
metadata: {name: task}
spec:
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  initContainers:
    - name: kfp-launcher
      image: ghcr.io/kubeflow/kfp-launcher:2.17.0
      resources: {limits: {cpu: 100m, memory: 128Mi}}
      securityContext:
        allowPrivilegeEscalation: false
        runAsNonRoot: true
        runAsUser: 65532
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
        seccompProfile: {type: RuntimeDefault}
  containers:
    - name: main
      image: registry.example/refsr:1
      resources: {limits: {cpu: "1", memory: 2Gi}}
      volumeMounts: [{name: kfp-launcher, mountPath: /kfp-launcher}]
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        seccompProfile: {type: RuntimeDefault}
        runAsUser: 10001
        runAsNonRoot: true
  volumes: [{name: kfp-launcher, emptyDir: {}}]
"""


def test_a_patch_of_kubeflow_gives_tasks_a_read_only_root(
    rendered: dict[str, Manifests], tmp_path: Path
) -> None:
    """The API server merges its setting into a workflow, and Argo the workflow's into each pod."""
    file = K8S / "kubeflow/read-only-root.yaml"
    (container,) = yaml.safe_load(file.read_text())["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    assert (container["name"], variable["name"]) == (
        "ml-pipeline-api-server",
        "COMPILED_PIPELINE_SPEC_PATCH",
    )
    of_pods = json.loads(json.loads(variable["value"])["podSpecPatch"])
    (tmp_path / "patch.yaml").write_text(json.dumps({"spec": of_pods}))
    (tmp_path / "pod.yaml").write_text(TASK)
    assert problems([yaml.safe_load(TASK)]) == ["Pod/task: main: root file system is writable"]
    patch = ("patch", "--local", "-f", "pod.yaml", "--patch-file", "patch.yaml", "-o", "yaml")
    patched = yaml.safe_load(run_in(tmp_path, "kubectl", *patch))
    assert problems([patched]) == []
    mounts = patched["spec"]["containers"][0]["volumeMounts"]
    assert {each["mountPath"] for each in mounts} == {"/tmp", "/kfp-launcher"}  # noqa: S108
