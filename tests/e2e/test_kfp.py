"""The compiled training pipeline, run by kfp itself task by task; only the cluster is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from refsr import steps
from refsr.config import load_section

ROOT = Path(__file__).parents[2]
Results = dict[str, dict[str, float]]


def _run_locally(folder: Path, params: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of `python -m pipelines.local` in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_RUN_ID", None)
    command = [sys.executable, "-m", "pipelines.local", "--params", str(params), "--output", str(folder / "out")]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny profile, in float32 whatever this machine is quicker in."""
    document = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    for stage in ("train_sisr", "train_refsr"):
        document[stage]["precision"] = "float32"
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def tasks(params: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline run; each task has one of its own in it."""
    folder = tmp_path_factory.mktemp("kfp")
    status, output = _run_locally(folder, params)
    assert status == 0, output
    assert "Traceback" not in output
    (made,) = (folder / "out").glob("refsr-training-*")
    return made


@pytest.fixture(scope="module")
def direct(params: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the steps return when they are called one after another, without kfp."""
    folder = tmp_path_factory.mktemp("direct")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        return {
            name: steps.run(
                name,
                load_section(params, name),
                tracking_uri=f"sqlite:///{folder}/mlflow.db",
                **{port: folder / port for port in steps.ports(steps.load(name))},
            )
            for name in steps.STEPS
        }


def _metrics(tasks: Path, name: str) -> dict[str, float]:
    document = json.loads((tasks / name.replace("_", "-") / "executor_output.json").read_text())
    metadata: dict[str, float] = document["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    return metadata


def _without_clocks(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if "second" not in key}


def _runs(store: Path) -> dict[str, Any]:
    from refsr.services.tracking import open_store

    mlflow = open_store(f"sqlite:///{store}")
    experiment = mlflow.get_experiment_by_name("refsr")
    runs = mlflow.MlflowClient().search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in runs}


@pytest.mark.parametrize("name", steps.STEPS)
def test_a_task_measures_what_the_step_measures(name: str, tasks: Path, direct: Results) -> None:
    by_kfp, by_hand = _without_clocks(_metrics(tasks, name)), _without_clocks(direct[name])
    assert by_kfp == by_hand
    assert by_kfp


def test_every_task_ran_and_the_end_is_recorded(tasks: Path) -> None:
    assert {path.name.replace("-", "_") for path in tasks.iterdir()} == {*steps.STEPS, "finish"}
    assert not list(tasks.rglob("*.partial*"))
    runs = _runs(tasks.parent / "mlflow.db")
    assert set(runs) == {*steps.STEPS, "pipeline"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["pipeline"].data.tags["kfp.state"] == "SUCCEEDED"


def test_what_kubeflow_shows_is_a_file(tasks: Path) -> None:
    assert (tasks / "evaluate/report").read_bytes() == (tasks / "evaluate/evaluation/report.html").read_bytes()
    assert (tasks / "evaluate/results").read_text() == (tasks / "evaluate/evaluation/results.md").read_text()
    assert (tasks / "register/card").read_text() == (tasks / "register/registration/model_card.md").read_text()


def test_a_pipeline_that_fails_says_why_and_is_recorded(params: Path, tmp_path: Path) -> None:
    status, output = _run_locally(tmp_path, params, "--raw", str(tmp_path / "nowhere"))
    assert status == 1
    assert f"refsr: error: curate: input --raw {tmp_path / 'nowhere'}: no such file or folder" in output
    assert "Traceback" not in output
    runs = _runs(tmp_path / "out/mlflow.db")
    assert set(runs) == {"pipeline"}
    assert runs["pipeline"].info.status == "FAILED"
    assert runs["pipeline"].data.tags["kfp.state"] == "FAILED"
    assert "failed" in runs["pipeline"].data.tags["error"]
