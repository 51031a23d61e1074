"""The settings of each task of a compiled pipeline: image, resources, secrets, volumes."""

import json
import re
import shutil
from pathlib import Path

import pytest
from compiled import CLUSTER, IMAGE, ROOT, Spec, compiled_of, containers_of, everywhere, kebab
from kubeflow_api import Api, run_of

from components import stages
from components.shell import RUN, STATE
from pipelines.cli import main
from pipelines.cluster import ENVIRONMENT, RESUMABLE, TASKS, load_cluster
from refsr import steps
from refsr.integrations.kubeflow_states import UI
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.tracking import pipeline_run

ON_GPU = {"train-sisr", "train-refsr", "evaluate", "merge-evaluation"}


def test_one_immutable_image_and_nothing_installed(graph: tuple[Spec, Spec]) -> None:
    pipeline, _ = graph
    assert {container["image"] for container in containers_of(pipeline).values()} == {IMAGE}
    assert stages.IMAGE not in json.dumps(pipeline)
    assert "pip install" not in json.dumps(pipeline)


def test_each_task_has_resources_and_a_time_limit(graph: tuple[Spec, Spec]) -> None:
    pipeline, kubernetes = graph
    containers = containers_of(pipeline)
    assert set(containers) <= {kebab(name) for name in TASKS}
    groups = everywhere(pipeline, "tasks")
    tasks = {
        name: task for group in groups for name, task in group.items() if "cachingOptions" in task
    }
    for name, container in containers.items():
        resources = container["resources"]
        cpu = TASKS[name.replace("-", "_")].get("cpu", "1")
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"] == cpu
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"]
        assert int(kubernetes[f"exec-{name}"]["activeDeadlineSeconds"]) >= 600
        retry = tasks[name]["retryPolicy"]
        assert (retry["maxRetryCount"], retry["backoffDuration"], retry["backoffFactor"]) == (
            2,
            "30s",
            2.0,
        )
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    importers = {name for name in tasks if name.startswith("importer")}
    never = {"register", "checkpoint", "drift", "finish"}
    assert cached - importers == set(tasks) - never - importers


def test_no_task_runs_as_root(graph: tuple[Spec, Spec]) -> None:
    _, kubernetes = graph
    for settings in kubernetes.values():
        context = {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert settings["securityContext"] == context


def test_a_cluster_file_links_runs_and_leaves_the_user_to_the_image(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("run_as: null\ntarget: {ui: https://kubeflow.example/pipeline}")
    pipeline, kubernetes = compiled_of(tmp_path / "p.yaml", file)
    assert not everywhere(kubernetes, "securityContext")
    link = {"name": UI, "value": "https://kubeflow.example/pipeline"}
    containers = containers_of(pipeline).items()
    assert not [name for name, container in containers if link not in container["env"]]


@pytest.mark.usefixtures("clean_environment")
def test_a_cancelled_run_has_the_link_that_its_first_stage_wrote(
    api: Api, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit handler never runs, and who cancels it need not know Kubeflow's pages."""
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"
    client = open_store(store).MlflowClient()
    monkeypatch.setenv(UI, "https://kubeflow.example/pipeline")
    run = pipeline_run(client, "r9")
    monkeypatch.delenv(UI)
    assert pipeline_run(client, "r9") == run
    api.responses["GET runs/r9"] = [run_of("CANCELED") | {"run_id": "r9"}]
    assert main(["cancel", "r9", "--endpoint", api.endpoint, "--tracking-uri", store]) == 0
    ended = client.get_run(run)
    assert ended.info.status == "KILLED"
    link = "https://kubeflow.example/pipeline/#/runs/details/r9"
    assert ended.data.tags["kfp.url"] == link


def test_only_tasks_with_networks_request_gpus(graph: tuple[Spec, Spec]) -> None:
    pipeline, kubernetes = graph
    gpus = {name: c["resources"].get("accelerator") for name, c in containers_of(pipeline).items()}
    here = ON_GPU & set(gpus)
    assert {name for name, gpu in gpus.items() if gpu} == here
    assert all(gpus[name]["resourceType"] == "nvidia.com/gpu" for name in here)
    assert all(gpus[name]["resourceCount"] == "1" for name in here)
    tolerant = {name for name, settings in kubernetes.items() if "tolerations" in settings}
    assert {name.removeprefix("exec-") for name in tolerant} == here
    shared = {
        name.removeprefix("exec-"): settings["emptyDirMounts"]
        for name, settings in kubernetes.items()
        if "emptyDirMounts" in settings
    }
    assert set(shared) == {"train-sisr", "train-refsr"} & set(gpus)
    for (mount,) in shared.values():
        assert (mount["mountPath"], mount["medium"]) == ("/dev/shm", "Memory")  # noqa: S108 - in the pod


def test_a_cluster_file_overrides_only_its_fields(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = compiled_of(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    containers = containers_of(pipeline)
    assert containers["train-sisr"]["resources"]["accelerator"]["resourceCount"] == "2"
    assert containers["train-sisr"]["resources"]["resourceMemoryLimit"] == "64Gi"
    assert containers["train-sisr"]["resources"]["resourceCpuLimit"] == TASKS["train_sisr"]["cpu"]
    assert containers["train-refsr"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert kubernetes["exec-curate"]["nodeSelector"]["labels"] == {"pool": "batch"}
    assert kubernetes["exec-train-sisr"]["nodeSelector"]["labels"] == {
        "pool": "batch",
        "gpu": "a100",
    }
    (toleration,) = kubernetes["exec-train-sisr"]["tolerations"]
    assert toleration == {
        "key": "dedicated",
        "operator": "Equal",
        "value": "gpu",
        "effect": "NoSchedule",
    }


def test_a_package_names_secrets_and_holds_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-password")
    monkeypatch.setenv("KFP_TOKEN", "hunter2-token")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = compiled_of(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    text = (tmp_path / "p.yaml").read_text()
    assert "hunter2" not in text
    for name, container in containers_of(pipeline).items():
        state = {STATE} if name in map(kebab, RESUMABLE) else set()
        assert {variable["name"] for variable in container["env"]} == set(ENVIRONMENT) | state
    for settings in kubernetes.values():
        (secret,) = settings["secretAsEnv"]
        assert secret["secretName"] == "mlflow"
        assert {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]} == {
            "user": "MLFLOW_TRACKING_USERNAME",
            "password": "MLFLOW_TRACKING_PASSWORD",
        }


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_only_the_task_register_may_change_models(overlay: str, tmp_path: Path) -> None:
    """Each task has one login; that of `register` is another than that of the rest."""
    cluster = ROOT / f"k8s/overlays/{overlay}/cluster.yaml"
    _, kubernetes = compiled_of(tmp_path / "p.yaml", cluster)
    for name, settings in kubernetes.items():
        user = "register" if name == "exec-register" else "tasks"
        (secret,) = settings["secretAsEnv"]
        assert secret["secretName"] == f"mlflow-{user}"
        assert {pair["envVar"] for pair in secret["keyToEnv"]} == {
            "MLFLOW_TRACKING_USERNAME",
            "MLFLOW_TRACKING_PASSWORD",
        }


def test_resumable_stages_mount_the_state_volume(
    compiled: tuple[Spec, Spec],
    tmp_path: Path,
) -> None:
    assert not everywhere(compiled[1], "pvcMount")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = compiled_of(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    mounts = {
        name: settings["pvcMount"]
        for name, settings in kubernetes.items()
        if "pvcMount" in settings
    }
    assert set(mounts) == {"exec-curate", "exec-train-sisr", "exec-train-refsr"}
    every = (*steps.STEPS, *steps.SIDE_STEPS)
    assert set(RESUMABLE) == {
        name for name in every if "resumable output" in steps.ports(steps.load(name)).values()
    }
    for name, (mount,) in mounts.items():
        environment = containers_of(pipeline)[name.removeprefix("exec-")]["env"]
        assert {"name": STATE, "value": mount["mountPath"]} in environment
        assert mount["pvcNameParameter"] == {"runtimeValue": {"constant": "trainings"}}


def test_the_run_id_comes_from_a_label_and_not_from_a_parameter(graph: tuple[Spec, Spec]) -> None:
    """A parameter that changes with each run would be part of the cache key: no cache hits."""
    pipeline, kubernetes = graph
    assert "{{$.pipeline_job" not in json.dumps(pipeline)
    for settings in kubernetes.values():
        assert settings["fieldPathAsEnv"] == [
            {"name": RUN, "fieldPath": "metadata.labels['pipeline/runid']"}
        ]


def test_the_cluster_files_of_the_page_are_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/kubeflow.md").read_text()
    everything, nodes = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for block in (everything, nodes):
        (tmp_path / "cluster.yaml").write_text(block)
        assert load_cluster(tmp_path / "cluster.yaml") != load_cluster()
