"""A training on several nodes in the compiled pipeline: a waiting task that holds a TrainJob."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.shell import STATE
from components.trainjob.controller import NAMESPACE, TRAINJOB, job_name
from pipelines.cluster import load_cluster
from pipelines.compile import Work, build, compile_package
from pipelines.graphs.training import training
from refsr.errors import RefsrError
from refsr.strict_yaml import load_documents

IMAGE = "registry.example/refsr:0123abc"
CLUSTER = """
state: {claim: shared}
secrets: [{name: mlflow, env: {password: MLFLOW_TRACKING_PASSWORD}}]
everywhere: {node_selector: {pool: batch}}
gpu: {node_selector: {gpu: a100}}
tasks: {train_sisr: {nodes: 2, gpus: 4, memory: 64Gi, timeout_minutes: 10}}
"""


@pytest.fixture(scope="module")
def executors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Of each task: its container and its Kubernetes settings."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "cluster.yaml").write_text(CLUSTER)
    compile_package(
        folder / "p.yaml", training(IMAGE, load_cluster(folder / "cluster.yaml"), "rendered")
    )
    pipeline, platform = load_documents((folder / "p.yaml").read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        name.removeprefix("exec-"): (each["container"], settings[name])
        for name, each in pipeline["deploymentSpec"]["executors"].items()
    }


@pytest.fixture(scope="module")
def job(executors: dict[str, tuple[Any, Any]]) -> Any:
    return json.loads(_environment(executors["train-sisr"][0])[TRAINJOB])


def _environment(container: Any) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_the_waiting_task_requests_no_gpu(executors: dict[str, tuple[Any, Any]]) -> None:
    container, settings = executors["train-sisr"]
    assert "accelerator" not in container["resources"]
    assert (
        container["resources"]["resourceCpuLimit"],
        container["resources"]["resourceMemoryLimit"],
    ) == ("1", "2Gi")
    assert "tolerations" not in settings
    assert "emptyDirMounts" not in settings
    assert settings["nodeSelector"]["labels"] == {"pool": "batch"}
    assert {"name": NAMESPACE, "fieldPath": "metadata.namespace"} in settings["fieldPathAsEnv"]
    assert settings["pvcMount"][0]["mountPath"] == _environment(container)[STATE]


def test_a_training_on_one_node_is_an_ordinary_task(executors: dict[str, tuple[Any, Any]]) -> None:
    container, _ = executors["train-refsr"]
    assert TRAINJOB not in _environment(container)
    assert container["resources"]["accelerator"]["resourceCount"] == "1"


def test_a_node_has_the_settings_of_a_task(job: Any) -> None:
    trainer = job["spec"]["trainer"]
    assert (trainer["image"], trainer["numNodes"], trainer["numProcPerNode"]) == (IMAGE, 2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {
        "cpu": "8",
        "memory": "64Gi",
        "nvidia.com/gpu": "4",
    }
    secret = {"secretKeyRef": {"name": "mlflow", "key": "password"}}
    assert {"name": "MLFLOW_TRACKING_PASSWORD", "valueFrom": secret} in trainer["env"]
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "batch", "gpu": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    expected = {"state": "/state", "shm": "/dev/shm", "tmp": "/tmp"}  # noqa: S108 - in the pod
    assert mounts == expected
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    claim, _, memory = pod["volumes"]
    assert claim["persistentVolumeClaim"] == {"claimName": "shared"}
    assert memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    assert job["spec"]["activeDeadlineSeconds"] == 600


def test_the_name_leaves_room_for_the_suffixes_of_a_hundred_pods() -> None:
    """JobSet refuses a name whose pods would have more than 63 characters."""
    name = job_name("train_refsr", "7e9d0ab1-5a0e-4b5b-9c9c-0c6f3a9d6f11")
    assert name == "train-refsr-7e9d0ab1-5a0e-4b5b-9"
    assert len(f"{name}-node-0-99-abcde") <= 63


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CLUSTER.replace("state:", "#"), "tasks.train_sisr.nodes: several nodes need a volume"),
        (
            "state: {claim: shared}\ntasks: {evaluate: {nodes: 2}}",
            "tasks.evaluate.nodes: only train_sisr and train_re",
        ),
        (
            "state: {claim: shared}\ntasks: {train_sisr: {nodes: 0}}",
            "tasks.train_sisr.nodes: Input should be greater",
        ),
    ],
)
def test_an_invalid_cluster_file_is_refused(
    text: str,
    expected: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(RefsrError) as refused:
        load_cluster(tmp_path / "cluster.yaml")
    assert str(refused.value).startswith(f"{tmp_path}/cluster.yaml: {expected}")


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(12, "set train_sisr.batch_size to 16"), (16, ""), (8, "")]
)
def test_a_batch_that_processes_cannot_share_is_refused(
    tmp_path: Path, batch_size: int, expected: str
) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    text = f"synthesize: {{}}\ntrain_sisr: {{batch_size: {batch_size}}}\n"
    (tmp_path / "params.yaml").write_text(text)
    work, cluster = Work(tmp_path / "params.yaml"), load_cluster(tmp_path / "cluster.yaml")
    if not expected:
        build(work, IMAGE, cluster)
        return
    message = rf"batch_size: 12 cannot be shared by the 8 processes .*nodes: 2.*; {expected}"
    with pytest.raises(RefsrError, match=message):
        build(work, IMAGE, cluster)
