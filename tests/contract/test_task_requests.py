"""The table of a dry run, and the warning of tasks that no node can run."""

from pathlib import Path
from typing import Any

import pytest
from compiled import CLUSTER, ROOT
from kubeflow_api import Api, refusal
from trainer_api import write_kubeconfig

from pipelines import nodes
from pipelines.cli import main
from pipelines.task_requests import Request

pytestmark = pytest.mark.usefixtures("clean_environment")
GPU = "nvidia.com/gpu"
TINY = ["--params", str(ROOT / "params/tiny.yaml"), "--image", "refsr:1"]
LOCAL = ["--cluster", str(ROOT / "k8s/overlays/local/cluster.yaml")]


def _row(text: str, task: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{task} ")]
    return [cell.strip() for cell in line.split("  ") if cell]


def test_a_dry_run_prints_what_each_task_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(CLUSTER.replace("tasks: {", "tasks: {train_refsr: {nodes: 2, gpus: 4}, "))
    command = ["submit", *TINY, "--dry-run", "--endpoint", "http://kfp", "--cluster", str(cluster)]
    params = tmp_path / "params.yaml"
    text = (ROOT / "params/tiny.yaml").read_text()
    params.write_text(text.replace("batch_size: 4", "batch_size: 8"))
    assert main([*command, "--params", str(params)]) == 0
    printed = capsys.readouterr().out
    assert "image  refsr:1" in printed
    shm = "trainings:/state,4Gi:/dev/shm"
    row = ["train-sisr", "8", "64Gi", "2", "1", "2", "2880 min", "yes", "mlflow", shm]
    assert _row(printed, "train-sisr") == row
    row = [
        "train-refsr",
        "8",
        "32Gi",
        "4",
        "2",
        "2",
        "2880 min",
        "yes",
        "mlflow",
        "trainings:/state",
    ]
    assert [cell.strip() for cell in _row(printed, "train-refsr")] == row
    assert [cell.strip() for cell in _row(printed, "register")][3:8] == [
        "-",
        "1",
        "2",
        "60 min",
        "no",
    ]


def _node(gpus: int = 0, **spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": "7910m", "memory": "16Gi", GPU: str(gpus)}
    return {
        "metadata": {"name": "n", "labels": {"pool": "batch"}},
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


@pytest.fixture
def kubernetes(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Api:
    """A Kubernetes API with the nodes of kind: one, without a GPU."""
    config = write_kubeconfig(tmp_path / "kubeconfig", api.endpoint)
    monkeypatch.setenv("KUBECONFIG", str(config))
    nodes = {"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [_node()]}
    api.responses["GET /api/v1/nodes"] = [nodes]
    return api


def test_a_submission_warns_of_tasks_that_no_node_can_run(
    kubernetes: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["submit", *TINY, "--endpoint", kubernetes.endpoint]
    assert main(command) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "no node" in line]
    assert len(warned) == 4, "curate, evaluate and both trainings"
    assert any("task train-sisr" in line and f"{GPU} 1" in line for line in warned)
    assert main([*command, *LOCAL]) == 0
    assert "no node" not in capsys.readouterr().err
    kubernetes.responses["GET /api/v1/nodes"] = [refusal(403, "nodes is forbidden")]
    assert main(command) == 0
    assert "no node" not in capsys.readouterr().err


def _request(
    gpus: int = 0,
    labels: Any = None,
    tolerations: Any = None,
) -> Request:
    resources = {"cpu": "2", "memory": "1Gi"} | ({GPU: str(gpus)} if gpus else {})
    return Request("t", "i", resources, 1, 0, 1, False, [], [], labels or {}, tolerations or [])


EXISTS = [{"key": GPU, "operator": "Exists"}]
EQUAL = [{"key": GPU, "operator": "Equal"}]
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("request_", "node", "expected"),
    [
        (_request(), _node(), True),
        (_request(1), _node(), False),
        (_request(1), _node(1), True),
        (_request(labels={"pool": "batch"}), _node(), True),
        (_request(labels={"pool": "other"}), _node(), False),
        (_request(), _node(unschedulable=True), False),
        (_request(1), _node(1, taints=[TAINT]), False),
        (
            _request(1, tolerations=[{"key": GPU, "operator": "Exists"}]),
            _node(1, taints=[TAINT]),
            True,
        ),
        (
            _request(1, tolerations=[{"key": GPU, "operator": "Equal"}]),
            _node(1, taints=[TAINT]),
            False,
        ),
        (_request(), _node(taints=[TAINT | {"effect": "PreferNoSchedule"}]), True),
    ],
)
def test_a_node_fits_a_task(
    request_: Request,
    node: dict[str, Any],
    expected: bool,
) -> None:
    assert nodes.fits(request_, node) is expected
