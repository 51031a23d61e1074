"""The manifests can be applied as they are, and say the same as code and pages."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from manifest_queries import Manifests, of, values

from components.trainjob.api import RESOURCE
from pipelines.cluster import load_cluster
from refsr.__main__ import _parser
from refsr.config import Register
from refsr.service.inference_protocol import INFER
from tools.manifests import K8S, problems

ROOT = Path(__file__).parents[2]


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


def test_the_service_is_the_same_under_kserve(rendered: dict[str, Manifests]) -> None:
    """The same container, under the name that KServe asks for."""
    deployment = of(rendered["serve"], "Deployment", "serve")["spec"]["template"]["spec"]
    predictor = of(rendered["serve-kserve"], "InferenceService", "refsr")["spec"]["predictor"]
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
    job = of(rendered["approval"], "CronJob", "promote")["spec"]["jobTemplate"]["spec"]
    (words,) = values(job, "command")
    options = _parser(words[3:]).parse_args(words[3:])
    assert options.approved
    (params,) = of(rendered["approval"], "ConfigMap", "promote")["data"].items()
    assert options.params.name == params[0]
    assert Register.model_validate(yaml.safe_load(params[1])["register"]) == Register()


def test_a_monitor_reads_the_port_and_the_secret_of_the_service(
    rendered: dict[str, Manifests],
) -> None:
    service = of(rendered["serve"], "Service", "serve")
    monitor = of(rendered["serve-prometheus"], "ServiceMonitor", "serve")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    secrets = values(of(rendered["serve"], "Deployment", "serve"), "secretKeyRef")
    assert endpoint["authorization"]["credentials"] in secrets


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/gpu"])
def test_the_overlays_provide_the_secrets_in_use(
    folder: str,
    rendered: dict[str, Manifests],
) -> None:
    """The keys that pods use are those that the overlay provides."""
    manifests = rendered[folder] + rendered["restore-s3"] + rendered["serve"]
    used = {(ref["name"], ref["key"]) for ref in values(manifests, "secretKeyRef")}
    for mounted in values(manifests, "sources"):
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
        (script,) = values([of(rendered[folder], kind, name)["spec"]], "command")
        assert "until pg_isready" in script[2].splitlines()[0], folder


def test_mlflow_allows_the_host_names_of_its_clients(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        hosts = of(rendered[folder], "ConfigMap", "mlflow")["data"][
            "MLFLOW_SERVER_ALLOWED_HOSTS"
        ].split(",")
        assert {"mlflow:5000", "mlflow.refsr:5000", "mlflow.refsr.svc.cluster.local:5000"} <= set(
            hosts,
        )


def test_the_default_network_policy_denies_everything(rendered: dict[str, Manifests]) -> None:
    for folder in ("overlays/local", "overlays/gpu"):
        closed = of(rendered[folder], "NetworkPolicy", "default-deny")["spec"]
        assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_tasks_reach_nothing_outside_the_cluster_but_by_an_overlay(
    rendered: dict[str, Manifests],
) -> None:
    """Each rule names who is reached, and which ports; S3 has one list of addresses."""
    for folder in ("overlays/local", "overlays/gpu"):
        for policy in rendered[folder]:
            if policy["kind"] != "NetworkPolicy":
                continue
            for rule in policy["spec"].get("egress", []):
                assert rule["to"], (folder, policy["metadata"], rule)
                is_own = rule["to"] == [{"podSelector": policy["spec"]["podSelector"]}]
                assert rule.get("ports") or is_own, (folder, policy["metadata"], rule)
    gpu = rendered["overlays/gpu"]
    servers, tasks = (of(gpu, "NetworkPolicy", name) for name in ("to-s3", "tasks-to-s3"))
    assert servers["spec"]["egress"] == tasks["spec"]["egress"]
    (block,) = servers["spec"]["egress"][0]["to"]
    assert "169.254.0.0/16" in block["ipBlock"]["except"]  # where clouds hand out credentials


def test_pods_that_are_not_restricted_are_reported(rendered: dict[str, Manifests]) -> None:
    labels = of(rendered["overlays/local"], "Namespace", "refsr")["metadata"]["labels"]
    levels = {mode: labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("warn", "audit")}
    assert set(levels.values()) == {"restricted"}


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
        (rule,) = of(rendered[folder], "Role", "reconcile")["rules"]
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
        (rule,) = of(rendered[folder], "Role", "trainjobs")["rules"]
        assert rule["apiGroups"] == [RESOURCE["group"]]
        assert rule["resources"] == [RESOURCE["plural"]]
        assert set(rule["verbs"]) == {"create", "get", "delete"}
