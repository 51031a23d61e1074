"""Two processes train together, started as a cluster starts them."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from helpers import holds_only_finished, make_curated
from trainer_api import condition, serving

from components import shell
from components.trainjob import controller
from components.trainjob.spec import trainjob
from pipelines.cluster import Cluster, State, load_cluster
from pipelines.task_settings import node_settings
from refsr.integrations.mlflow_store import open_store
from refsr.models.checkpoint import load_model, read_checkpoint
from refsr.params import load_section

ROOT = Path(__file__).parents[2]


def _torchrun(folder: Path, stage: str, **paths: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [word for name, path in paths.items() for word in (f"--{name}", path)]
    command = [
        sys.executable,
        *launcher,
        "-m",
        "refsr",
        stage,
        "--params",
        "params.yaml",
        *given,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    _succeed(command, folder, environment)


def _trainjob() -> dict[str, Any]:
    settings = load_cluster().tasks["train_sisr"].model_copy(update={"nodes": 2})
    tasks = load_cluster().tasks | {"train_sisr": settings}
    cluster = Cluster(state=State(claim="shared"), tasks=tasks)
    return trainjob(node_settings("train_sisr", settings, cluster, "refsr:1"))


def _succeed(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout


def test_two_processes_leave_one_model_and_one_run(tmp_path: Path) -> None:
    make_curated(tmp_path / "curated", identities=6, images=3, train=4, validation=2)
    (tmp_path / "validation").mkdir()
    params = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    params["train_refsr"]["sharpen"] = {"steps": 3}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    _torchrun(tmp_path, "train_sisr", curated="curated", validation="validation", sisr="sisr")
    _torchrun(tmp_path, "train_refsr", curated="curated", sisr="sisr", refsr="refsr")
    for model, steps in (("sisr", 6), ("refsr", 4)):
        checkpoint = tmp_path / model / "model.safetensors"
        assert read_checkpoint(checkpoint)[1]["step"] == steps
        assert all(p.isfinite().all() for p in load_model(checkpoint).parameters())
        assert list(pd.read_csv(tmp_path / model / "history.csv")["step"])[-1] == steps
    assert list(pd.read_csv(tmp_path / "refsr" / "sharpen_history.csv")["step"])[-1] == 3
    assert not list(tmp_path.glob("*.partial*"))
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (2,)
        assert store.execute("select value from tags where key = 'processes'").fetchall() == [
            ("2",),
            ("2",),
        ]


def test_two_processes_learn_what_one_does_and_go_on_together(tmp_path: Path) -> None:
    make_curated(tmp_path / "curated", identities=8, images=3, train=4, validation=2)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for words, name in ((launcher, "two"), ([], "one")):
        script = [str(ROOT / "tests/ranks.py"), "curated", name]
        _succeed([sys.executable, *words, *script], tmp_path, environment)
    for kind in ("sisr", "refsr", "sharp"):
        one, two = (_weights(tmp_path / name / kind) for name in ("one", "two"))
        assert float((one - two).norm() / one.norm()) < 1e-6
        for file in ("model.safetensors", "best.safetensors"):
            killed = tmp_path / "two" / f"{kind}-killed" / file
            assert killed.read_bytes() == (tmp_path / "two" / kind / file).read_bytes()
        histories = [pd.read_csv(tmp_path / name / kind / "history.csv") for name in ("one", "two")]
        measured = [
            each[each.columns[each.columns.str.startswith("validation")]] for each in histories
        ]
        pd.testing.assert_frame_equal(*measured, rtol=1e-5)


def _weights(folder: Path) -> torch.Tensor:
    tensors = read_checkpoint(folder / "model.safetensors")[2]
    return torch.cat([tensor.flatten().double() for tensor in tensors.values()])


def test_a_task_trains_through_a_trainjob(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of this machine run the job's own command."""
    make_curated(tmp_path / "curated", identities=6, images=3, train=4)
    (tmp_path / "validation").mkdir()
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    store = f"sqlite:///{tmp_path}/mlflow.db"

    def train(job: dict[str, Any]) -> None:
        trainer = job["spec"]["trainer"]
        launcher, *words = trainer["command"] + trainer["args"]
        assert launcher == "torchrun"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(trainer["numNodes"]), *words]
        _succeed(command, tmp_path, os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})

    with serving() as api:
        api.statuses, api.train = [condition("Complete")], train
        environment = {
            "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")),
            controller.NAMESPACE: "faces",
        }
        environment |= {shell.STATE: str(tmp_path / "state"), shell.RUN: "run-1"}
        environment |= {controller.TRAINJOB: json.dumps(_trainjob())}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        metrics = SimpleNamespace(path="", metadata={})
        artifacts = {
            name: SimpleNamespace(path=str(tmp_path / name), metadata={})
            for name in ("curated", "validation", "sisr")
        }
        params = load_section(ROOT / "params/tiny.yaml", "train_sisr").model_dump(mode="json")
        before = signal.getsignal(signal.SIGTERM)
        shell.run("train_sisr", params, store, metrics, **artifacts)
        signal.signal(signal.SIGTERM, before)
    assert read_checkpoint(tmp_path / "sisr/model.safetensors")[1]["step"] == 6
    client = open_store(store).MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("refsr").experiment_id])
    (parent,) = (run for run in runs if run.info.run_name == "pipeline")
    (child,) = (run for run in runs if run.info.run_name == "train_sisr")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["processes"] == "2"
    for key, value in metrics.metadata.items():
        assert child.data.metrics[key] == pytest.approx(value)
    assert holds_only_finished(tmp_path / "state")
