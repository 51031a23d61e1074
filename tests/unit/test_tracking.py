"""Tracked runs, in a real store."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_curated

from refsr.config import Evaluate, Register, TrainSisr, Validate
from refsr.errors import RefsrError
from refsr.integrations import tracking
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.tracking import MlflowTracker, start_run
from refsr.integrations.versioning import data_revision, git_revision


def _runs(uri: str) -> list[Any]:
    client = open_store(uri).MlflowClient()
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments))


def _run(uri: str) -> Any:
    (run,) = _runs(uri)
    return run


def test_a_run_is_named_as_its_stage_and_holds_its_params(tracking_uri: str) -> None:
    with start_run(tracking_uri, "register", Register(name="mine")):
        pass
    run = _run(tracking_uri)
    assert (run.info.run_name, run.info.status) == ("register", "FINISHED")
    assert run.data.params["register.name"] == "mine"
    assert run.data.params["register.gate.psnr_over_champion"] == "-0.05"


def test_a_run_records_where_it_comes_from(tracking_uri: str, tmp_path: Path) -> None:
    (tmp_path / "raw.dvc").write_text("outs:\n- md5: 0123abc.dir\n  path: raw\n")
    with start_run(
        tracking_uri, "validate", Validate(), {"raw": tmp_path / "raw", "other": tmp_path / "other"}
    ):
        pass
    tags = _run(tracking_uri).data.tags
    commit, dirty = git_revision()
    assert (tags["git.commit"], tags["git.dirty"]) == (commit or "unknown", str(dirty).lower())
    assert tags["data.raw"] == "0123abc.dir"
    assert "data.other" not in tags
    assert {"python", "torch", "cpus", "stage"} <= set(tags)


def test_a_curated_set_is_an_input_of_the_runs_that_learn_or_measure(
    tracking_uri: str, tmp_path: Path
) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=3)
    with start_run(tracking_uri, "evaluate", Evaluate(), {"curated": curated}):
        pass
    (given,) = _run(tracking_uri).inputs.dataset_inputs
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "evaluation"}
    assert (given.dataset.name, given.dataset.source) == ("curated", '{"uri": "curated"}')
    assert given.dataset.digest == data_revision(curated)
    assert json.loads(given.dataset.profile) == {"train": 9, "test": 3}
    (curated / "manifest.parquet").write_bytes(b"damaged")  # which the stage reports
    with start_run(tracking_uri, "train_sisr", TrainSisr(), {"curated": curated}):
        pass
    client = open_store(tracking_uri).MlflowClient()
    kind = client.get_experiment_by_name("refsr").tags["mlflow.experimentKind"]
    assert kind == "custom_model_development"


def test_the_hash_of_params_distinguishes_values(tracking_uri: str) -> None:
    for seed in (0, 0, 1):
        with start_run(tracking_uri, "validate", Validate(seed=seed)):
            pass
    hashes = [run.data.tags["params"] for run in _runs(tracking_uri)]
    assert len(set(hashes)) == 2


def test_metrics_pictures_and_files_are_kept(tracking_uri: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    with start_run(tracking_uri, "validate", Validate()) as tracker:
        for step in range(0, 5000, 20):  # more than one batch
            tracker.metrics({"loss": step / 2, "l1": 1.0}, step)
        tracker.metrics({"psnr": 25.0})
        tracker.image(np.zeros((4, 4, 3), np.uint8), "sheet")
        tracker.image(np.zeros((4, 4, 3), np.uint8), "fixed batch", 20)
        tracker.artifact(tmp_path / "folder", "kept")
        tracker.artifact(tmp_path / "folder" / "a.txt")
    run = _run(tracking_uri)
    client = open_store(tracking_uri).MlflowClient()
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [
        (step, step / 2) for step in range(0, 5000, 20)
    ]
    assert run.data.metrics["psnr"] == 25.0
    assert [each.path for each in client.list_artifacts(run.info.run_id, "kept")] == ["kept/a.txt"]
    assert {"a.txt", "sheet.png", "images"} <= {
        each.path for each in client.list_artifacts(run.info.run_id)
    }


def test_metrics_are_sent_in_batches(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FLUSH_SECONDS", 3600.0)
    sent: list[int] = []
    flush = MlflowTracker.flush
    with start_run(tracking_uri, "validate", Validate()) as tracker:
        monkeypatch.setattr(
            MlflowTracker, "flush", lambda self: (sent.append(len(self._buffer)), flush(self))
        )
        for step in range(tracking.FLUSH_COUNT + 10):
            tracker.metrics({"loss": 1.0}, step)
    assert sent == [tracking.FLUSH_COUNT, 10]


@pytest.mark.parametrize(
    ("error", "status"), [(RefsrError("no faces"), "FAILED"), (KeyboardInterrupt("stop"), "KILLED")]
)
def test_an_ended_run_says_how_it_ended(
    tracking_uri: str, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), start_run(tracking_uri, "validate", Validate()) as tracker:
        tracker.metrics({"loss": 1.0}, 7)
        raise error
    run = _run(tracking_uri)
    assert run.info.status == status
    assert run.data.tags["error"] == f"{type(error).__name__}: {error}"
    assert run.data.metrics == {"loss": 1.0}
    with start_run(tracking_uri, "validate", Validate()):  # nothing of the failed run is left open
        pass


def test_a_run_handed_over_is_joined(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_store(tracking_uri).MlflowClient()
    given = client.create_run(client.create_experiment("another"), run_name="task").info.run_id
    for name, params in (
        ("validate", Validate(seed=3)),
        ("register", Register()),
    ):  # stages may even share one
        monkeypatch.setenv("MLFLOW_RUN_ID", given)
        with start_run(tracking_uri, name, params) as tracker:
            assert tracker.run_id == given
    run = _run(tracking_uri)
    assert run.info.status == "FINISHED"
    assert (run.data.params["validate.seed"], run.data.params["register.name"]) == ("3", "refsr")


def test_a_server_that_does_not_answer_is_named(tracking_uri: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        uri = f"http://someone:secret@127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            RefsrError, match=r"tracking server http://someone:\*\*\*@127\.0\.0\.1:\d+: no answer"
        ):
            open_store(uri)


@pytest.mark.parametrize("uri", ["mlruns", "nonsense://x"])
def test_a_store_that_cannot_be_opened_is_named(tracking_uri: str, uri: str) -> None:
    with pytest.raises(
        RefsrError, match=f"tracking store {uri}: cannot be opened: .*set MLFLOW_TRACKING_URI"
    ):
        open_store(uri)


def test_a_file_that_is_no_store_is_named(tracking_uri: str, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database" * 100)
    with pytest.raises(RefsrError, match=r"notes\.db: cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/notes.db")


def test_a_missing_database_driver_is_named_with_its_extra() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"postgresql+psycopg2://me@127.0.0.1:{server.getsockname()[1]}/faces"
        with pytest.raises(RefsrError, match=r"psycopg2.*pip install 'refsr\[server\]'"):
            open_store(uri)


def test_what_the_store_refuses_is_reported_with_its_name(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with (
        pytest.raises(RefsrError, match=r"tracking store sqlite:.*0{32}"),
        start_run(tracking_uri, "x", Validate()),
    ):
        pass


def test_nothing_is_said_on_the_terminal(tmp_path: Path) -> None:
    """A new store, a run, an end: MLflow speaks of its tables, its telemetry and its links,
    unless it is silenced.
    """
    code = (
        "from refsr.integrations.tracking import start_run; from refsr.config import Validate\n"
        "with start_run('sqlite:///mlflow.db', 'validate', Validate()): pass"
    )
    repository = Path(__file__).parents[2]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "mlflow.db").is_file()
