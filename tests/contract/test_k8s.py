"""The manifests can be applied as they are, and faulty ones are refused."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helpers import run_in

from components.trainjob.api import RESOURCE
from pipelines.cluster import load_cluster
from refsr.__main__ import _parser
from refsr.config import Register
from refsr.service.inference_protocol import INFER
from tools import crd_schema
from tools.manifests import K8S, folders, generated, problems, render

ROOT = Path(__file__).parents[2]
TRACKED = ("ls-files", "--cached", "--others", "--exclude-standard", "k8s")
Manifests = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifests]:
    """From a clean checkout: nothing but what git tracks."""
    if shutil.which("kubectl") is None:
        pytest.skip("NOT TESTED, the manifests of k8s/: kubectl is not on the PATH")
    checkout = tmp_path_factory.mktemp("checkout")
    for name in run_in(ROOT, "git", *TRACKED).splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    return {folder: render(folder, checkout / "k8s") for folder in folders()}  # type: ignore[misc]


def test_no_overlay_has_a_fault(rendered: dict[str, Manifests]) -> None:
    assert {folder: problems(manifests) for folder, manifests in rendered.items()} == {
        "overlays/gpu": [],
        "overlays/local": [],
        "approval": [],
        "restore": [],
        "restore-s3": [],
        "serve": [],
        "serve-kserve": [],
        "serve-prometheus": [],
        "state": [],
    }


def _of(
    manifests: Manifests,
    kind: str,
    name: str,
) -> dict[str, Any]:
    of_kind = [each for each in manifests if each["kind"] == kind]
    (manifest,) = (each for each in of_kind if each["metadata"]["name"].startswith(name))
    return manifest


def _server(manifests: Manifests) -> dict[str, Any]:
    container: dict[str, Any] = _of(manifests, "Deployment", "mlflow")["spec"]["template"]["spec"][
        "containers"
    ][0]
    return container


def _spec(manifests: Manifests) -> dict[str, Any]:
    pod: dict[str, Any] = _of(manifests, "Deployment", "mlflow")["spec"]["template"]["spec"]
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
        lambda m: _of(m, "ConfigMap", "mlflow").update(
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
    "unknown kind": (lambda m: _of(m, "Service", "mlflow").update(kind="Sevrice"), "unknown kind"),
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
    damage(_of(manifests, "InferenceService", "refsr"))
    assert any(expected in problem for problem in problems(manifests))


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
    object_ = copy.deepcopy(_of(made, kind, ""))
    damage(object_["spec"])
    (problem,) = problems([object_])
    assert any(word in problem for word in ("unknown", "pipelineSpec", "two"))


def _node(spec: dict[str, Any]) -> Any:
    """The container of a node in the patch of a TrainJob's runtime."""
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]["containers"][0]


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


def _predictor(service: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = service["spec"]["predictor"]["containers"][0]
    return container


def test_the_service_is_the_same_under_kserve(rendered: dict[str, Manifests]) -> None:
    """The same container, under the name that KServe asks for."""
    deployment = _of(rendered["serve"], "Deployment", "serve")["spec"]["template"]["spec"]
    predictor = _of(rendered["serve-kserve"], "InferenceService", "refsr")["spec"]["predictor"]
    own, other = deployment["containers"][0], copy.deepcopy(predictor["containers"][0])
    assert other["env"].pop(0) == {"name": "PROTOCOL", "value": "v2"}
    assert INFER == "/v2/models/refsr/infer"  # where KServe says that a service of this name is
    for key in ("image", "command", "env", "resources", "securityContext", "volumeMounts"):
        assert own[key] == other[key], key
    assert own["image"].startswith("localhost/refsr-cpu:")
    assert deployment["securityContext"] == predictor["securityContext"]
    words = own["command"][own["command"].index("refsr") + 1 :]
    assert _parser(words).parse_args(words).host == "0.0.0.0"  # noqa: S104


def test_the_approval_job_runs_the_command(rendered: dict[str, Manifests]) -> None:
    job = _of(rendered["approval"], "CronJob", "promote")["spec"]["jobTemplate"]["spec"]
    (words,) = _values(job, "command")
    options = _parser(words[3:]).parse_args(words[3:])
    assert options.approved
    (params,) = _of(rendered["approval"], "ConfigMap", "promote")["data"].items()
    assert options.params.name == params[0]
    assert Register.model_validate(yaml.safe_load(params[1])["register"]) == Register()


def test_a_monitor_reads_the_port_and_the_secret_of_the_service(
    rendered: dict[str, Manifests],
) -> None:
    service = _of(rendered["serve"], "Service", "serve")
    monitor = _of(rendered["serve-prometheus"], "ServiceMonitor", "serve")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    secrets = _values(_of(rendered["serve"], "Deployment", "serve"), "secretKeyRef")
    assert endpoint["authorization"]["credentials"] in secrets


def test_an_external_secret_is_checked_by_its_schema(rendered: dict[str, Manifests]) -> None:
    manifests = copy.deepcopy(rendered["overlays/gpu"])
    _of(manifests, "ExternalSecret", "refsr")["spec"]["data"][0]["remoteReff"] = {}
    assert any("remoteReff" in problem for problem in problems(manifests))


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/gpu"])
def test_the_overlays_provide_the_secrets_in_use(
    folder: str, rendered: dict[str, Manifests]
) -> None:
    """The keys that pods use are those that the overlay provides."""
    manifests = rendered[folder] + rendered["restore-s3"] + rendered["serve"]
    used = {(ref["name"], ref["key"]) for ref in _values(manifests, "secretKeyRef")}
    for mounted in _values(manifests, "sources"):
        secrets = [each["secret"] for each in mounted if "secret" in each]
        used |= {(each["name"], item["key"]) for each in secrets for item in each["items"]}
    used -= {("serve", "token")}  # docs/how-to/serve.md
    provided = set()
    if folder == "overlays/local":
        provided = _created_by_hand()
    for each in manifests:
        if each["kind"] == "ExternalSecret":
            provided |= {
                (each["spec"]["target"]["name"], entry["secretKey"])
                for entry in each["spec"]["data"]
            }
    assert used == provided


def _created_by_hand() -> set[tuple[str, str]]:
    """Secret and key of the commands of docs/how-to/cluster.md."""
    page = (ROOT / "docs/how-to/cluster.md").read_text().replace("\\\n", " ")
    (users,) = re.findall(r"for user in ([\w ]+); do kubectl -n refsr create", page)
    provided = set()
    for name, rest in re.findall(r"create secret generic (\S+) (.*)", page):
        keys = re.findall(r"--from-literal=([\w-]+)=", rest)
        names = [name.replace("$user", user) for user in users.split()]
        provided |= {(each, key) for each in names for key in keys}
    return provided


def test_a_pod_waits_for_the_database_before_its_first_query(
    rendered: dict[str, Manifests],
) -> None:
    """An enforced network policy admits a new pod some seconds late."""
    for folder, kind, name in (
        ("overlays/local", "CronJob", "backup"),
        ("restore", "Job", "restore"),
    ):
        (script,) = _values([_of(rendered[folder], kind, name)["spec"]], "command")
        assert "until pg_isready" in script[2].splitlines()[0], folder


def _values(value: Any, key: str) -> list[Any]:
    """Every value of `key`, at any depth."""
    if isinstance(value, list):
        return [inner for each in value for inner in _values(each, key)]
    if isinstance(value, dict):
        return [
            *([value[key]] if key in value else []),
            *(v for each in value.values() for v in _values(each, key)),
        ]
    return []


def test_mlflow_allows_the_host_names_of_its_clients(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        hosts = _of(rendered[folder], "ConfigMap", "mlflow")["data"][
            "MLFLOW_SERVER_ALLOWED_HOSTS"
        ].split(",")
        assert {"mlflow:5000", "mlflow.refsr:5000", "mlflow.refsr.svc.cluster.local:5000"} <= set(
            hosts
        )


def test_the_default_network_policy_denies_everything(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        closed = _of(rendered[folder], "NetworkPolicy", "default-deny")["spec"]
        assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_tasks_reach_nothing_outside_the_cluster_but_by_an_overlay(
    rendered: dict[str, Manifests],
) -> None:
    """Each rule names who is reached, and which ports."""
    for name in ("tasks", "trainjobs"):
        policy = _of(rendered["overlays/local"], "NetworkPolicy", name)
        for rule in policy["spec"]["egress"]:
            assert rule["to"], (name, rule)
            is_own = rule["to"] == [{"podSelector": policy["spec"]["podSelector"]}]
            assert rule.get("ports") or is_own, (name, rule)


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


def test_no_manifest_is_remote() -> None:
    for path in K8S.rglob("kustomization.yaml"):
        assert "://" not in path.read_text().replace("s3://", "").replace("http://seaweedfs", ""), (
            path
        )


def test_the_cluster_files_of_the_overlays_are_valid() -> None:
    assert load_cluster(K8S / "overlays/gpu/cluster.yaml").gpu.node_selector
    local = load_cluster(K8S / "overlays/local/cluster.yaml")
    assert not any(task.gpus or task.shm for task in local.tasks.values())
    assert {task.cpu for task in local.tasks.values()} == {"1", "500m"}
    assert {task.memory for task in local.tasks.values()} == {"2Gi", "1Gi"}


def test_reconcile_may_only_read_runs(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        (rule,) = _of(rendered[folder], "Role", "reconcile")["rules"]
        assert rule == {
            "apiGroups": ["pipelines.kubeflow.org"],
            "resources": ["runs"],
            "verbs": ["get"],
        }


def test_no_pod_that_ends_gets_a_sidecar(rendered: dict[str, Manifests]) -> None:
    """A profile's namespace injects one that would keep a Job running."""
    for folder, manifests in rendered.items():
        for each in manifests:
            if each["kind"] not in ("Job", "CronJob"):
                continue
            job = each["spec"].get("jobTemplate", {}).get("spec", each["spec"])
            labels = job["template"]["metadata"]["labels"]
            assert labels["sidecar.istio.io/inject"] == "false", (folder, each["metadata"])


def test_tasks_may_create_get_and_delete_trainjobs_only(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        (rule,) = _of(rendered[folder], "Role", "trainjobs")["rules"]
        assert rule["apiGroups"] == [RESOURCE["group"]]
        assert rule["resources"] == [RESOURCE["plural"]]
        assert set(rule["verbs"]) == {"create", "get", "delete"}
