"""Two processes train together, started as a cluster starts them."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
from helpers import make_curated

from refsr.models.checkpoint import load_model, read_checkpoint

ROOT = Path(__file__).parents[2]


def _torchrun(folder: Path, stage: str, **paths: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [word for name, path in paths.items() for word in (f"--{name}", path)]
    command = [sys.executable, *launcher, "-m", "refsr", stage, "--params", str(ROOT / "params/tiny.yaml"), *given]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout


def test_two_processes_leave_one_model_and_one_run(tmp_path: Path) -> None:
    make_curated(tmp_path / "curated", identities=6, images=3, train=4)
    (tmp_path / "validation").mkdir()
    _torchrun(tmp_path, "train_sisr", curated="curated", validation="validation", sisr="sisr")
    _torchrun(tmp_path, "train_refsr", curated="curated", sisr="sisr", refsr="refsr")
    for model, steps in (("sisr", 6), ("refsr", 4)):
        checkpoint = tmp_path / model / "model.safetensors"
        assert read_checkpoint(checkpoint)[1]["step"] == steps
        assert all(p.isfinite().all() for p in load_model(checkpoint).parameters())
        assert list(pd.read_csv(tmp_path / model / "history.csv")["step"])[-1] == steps
    assert not list(tmp_path.glob("*.partial*"))
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (2,)
        assert store.execute("select value from tags where key = 'processes'").fetchall() == [("2",), ("2",)]
