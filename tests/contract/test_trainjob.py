"""The TrainJob of a training on several nodes: of the form Kubeflow Trainer takes, with all that a task has."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.__main__ import main
from refsr.__main__ import _parser

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "trainjob.schema.json").read_text())
CLUSTER = """
target: {namespace: faces, image: "refsr:1", tracking_uri: "http://mlflow:5000"}
state: {claim: shared}
secrets: [{name: mlflow, env: {password: MLFLOW_TRACKING_PASSWORD}}]
gpu: {node_selector: {gpu: a100}}
tasks: {train_sisr: {gpus: 4, memory: 64Gi}}
"""
PATHS = {"curated": "/state/curated", "validation": "/state/validation", "sisr": "/state/sisr"}


def _write(folder: Path, cluster: str = CLUSTER, nodes: int = 2, paths: dict[str, str] = PATHS) -> int:
    (folder / "cluster.yaml").write_text(cluster)
    command = ["trainjob", "--stage", "train_sisr", "--name", "faces-1", "--params", str(ROOT / "params/tiny.yaml")]
    command += ["--cluster", str(folder / "cluster.yaml"), "--nodes", str(nodes), "--output", str(folder / "job.yaml")]
    return main(command + [word for port, path in paths.items() for word in ("--path", f"{port}={path}")])


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says would come before the cluster file; MLflow itself leaves its URI there."""
    for variable in ("KFP_NAMESPACE", "MLFLOW_TRACKING_URI", "REFSR_IMAGE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def objects(tmp_path: Path) -> list[Any]:
    assert _write(tmp_path) == 0
    return list(yaml.safe_load_all((tmp_path / "job.yaml").read_text()))


def test_it_is_a_trainjob_and_no_field_is_misspelt(objects: list[Any]) -> None:
    _, job = objects
    jsonschema.validate(job, SCHEMA)
    job["spec"]["trainer"]["numNode"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_every_node_has_what_a_task_would_have(objects: list[Any]) -> None:
    trainer = objects[1]["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
    secret = {"secretKeyRef": {"name": "mlflow", "key": "password"}}
    assert {"name": "MLFLOW_TRACKING_PASSWORD", "valueFrom": secret} in trainer["env"]
    pod = objects[1]["spec"]["podTemplateOverrides"][0]["spec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}


def test_it_runs_the_stage_by_its_own_command_with_the_params_as_they_are(objects: list[Any]) -> None:
    params, job = objects
    launcher, *words = job["spec"]["trainer"]["command"]
    assert (launcher, words[:2]) == ("torchrun", ["-m", "refsr"])
    options = _parser(words[2:]).parse_args(words[2:])
    assert {port: str(getattr(options, port)) for port in PATHS} == PATHS
    mounts = job["spec"]["podTemplateOverrides"][0]["spec"]["containers"][0]["volumeMounts"]
    assert str(options.params.parent) in {mount["mountPath"] for mount in mounts}
    assert params["data"][options.params.name] == (ROOT / "params/tiny.yaml").read_text()
    assert params["metadata"] == job["metadata"] == {"name": "faces-1", "namespace": "faces"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nodes": 1}, "--nodes: "),
        ({"paths": PATHS | {"sisr": "/elsewhere"}}, "sisr /elsewhere: not on the volume"),
        ({"paths": {"sisr": "/state/sisr"}}, "are to be told"),
        ({"cluster": CLUSTER.replace("state:", "everywhere: {} #")}, "several nodes need `state: {claim: NAME}`"),
    ],
)
def test_what_could_not_run_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _write(tmp_path, **changes) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "job.yaml").exists()
