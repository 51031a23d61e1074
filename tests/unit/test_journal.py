"""What a training reports is in a journal first; the store gets all of it, and each once."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refsr.config import TrainSisr
from refsr.integrations import sender
from refsr.integrations.journal import NOTHING, Busy, Journal, read_run
from refsr.integrations.journaled_run import (
    FOLDER,
    JournalTracker,
    deliver_left,
    has_run,
    start_journaled_run,
)
from refsr.integrations.mlflow_store import open_store
from tools.local_services import S3, free_port, s3_server

PARAMS = TrainSisr(steps=8, warm_start_step=1)
PICTURE = np.zeros((4, 4, 3), np.uint8)
KILLED = """
import os, signal, sys
from pathlib import Path
from refsr.config import TrainSisr
from refsr.integrations.journaled_run import start_journaled_run
params = TrainSisr(steps=8, warm_start_step=1)
rest = (params, None, None, "", Path(sys.argv[2]))
with start_journaled_run(sys.argv[1], "train_sisr", *rest) as tracker:
    for step in range(1, 5):
        tracker.metrics({"loss": step / 2}, step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _report(
    uri: str, folder: Path, *steps: int, params: TrainSisr = PARAMS, fault: bool = False
) -> None:
    with start_journaled_run(uri, "train_sisr", params, None, None, "", folder) as tracker:
        for step in steps:
            tracker.metrics({"loss": step / 2, "l1": 1.0}, step)
            tracker.image(PICTURE, "sheet", step)
        if fault:
            raise KeyboardInterrupt
        tracker.metrics({"loss": 9.0, "faces": 3.0})  # the last of a series is known


def _runs(uri: str) -> list[Any]:
    client = open_store(uri).MlflowClient()
    experiment = client.get_experiment_by_name("refsr").experiment_id
    return list(client.search_runs([experiment], order_by=["attributes.start_time"]))


def _steps(uri: str, run: Any) -> list[int]:
    client = open_store(uri).MlflowClient()
    return sorted(each.step for each in client.get_metric_history(run.info.run_id, "loss"))


def _pictures(uri: str, run: Any) -> int:
    client = open_store(uri).MlflowClient()
    paths = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
    return sum(path.endswith(".png") for path in paths)


def test_a_stopped_run_goes_on_without_a_gap_and_without_a_point_twice(
    tracking_uri: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _report(tracking_uri, tmp_path / "out", 1, 2, 3, fault=True)
    (run,) = _runs(tracking_uri)
    assert (run.info.status, run.data.tags["error"]) == ("KILLED", "KeyboardInterrupt: ")
    _report(tracking_uri, tmp_path / "out", 1, 2, 3, 4)
    (run,) = _runs(tracking_uri)
    assert (run.info.status, "error" in run.data.tags) == ("FINISHED", False)
    assert _steps(tracking_uri, run) == [1, 2, 3, 4]
    assert _pictures(tracking_uri, run) == 4
    assert run.data.metrics == {"loss": 2.0, "l1": 1.0, "faces": 3.0}
    more = TrainSisr(steps=9, warm_start_step=1)
    _report(tracking_uri, tmp_path / "out", 1, 2, 3, 4, 5, params=more)
    before, after = _runs(tracking_uri)
    assert after.data.tags["continues"] == before.info.run_id
    assert _steps(tracking_uri, after) == [1, 2, 3, 4, 5]


def test_a_delivery_that_was_cut_off_is_repeated_without_a_trace(
    tracking_uri: str, tmp_path: Path
) -> None:
    _report(tracking_uri, tmp_path / "out")
    journal = Journal(tmp_path / "out" / FOLDER)
    JournalTracker(journal).metrics({"loss": 1.0}, 1)
    for _ in range(2):  # the second time, the store has it all, and nobody remembers
        JournalTracker(journal).image(PICTURE, "sheet", None)
        journal.image("sheet", 1, lambda path: path.write_bytes(_png(tmp_path)))
        journal.mark_sent(0)
        sender.send_left(tracking_uri, [journal])
    journal.close()
    (run,) = _runs(tracking_uri)
    assert _steps(tracking_uri, run) == [0, 1]
    assert _pictures(tracking_uri, run) == 1


def _png(folder: Path) -> bytes:
    from PIL import Image

    Image.fromarray(PICTURE).save(folder / "picture.png")
    return (folder / "picture.png").read_bytes()


def test_what_a_killed_process_has_not_sent_is_sent_by_the_next(
    tracking_uri: str, tmp_path: Path
) -> None:
    output = tmp_path / "models/sisr.partial"
    command = [sys.executable, "-c", KILLED, tracking_uri, str(output)]
    assert subprocess.run(command, cwd=tmp_path).returncode == -signal.SIGKILL
    assert has_run([tmp_path / "models/sisr"], None, "train_sisr")
    assert not has_run([tmp_path / "models/other"], None, "train_sisr")
    with (output / FOLDER / "events.jsonl").open("a") as file:
        file.write('{"kind": "metr')  # the machine went down amid a line
    holder = Journal(output / FOLDER)
    with pytest.raises(Busy):
        Journal(output / FOLDER)
    assert deliver_left(tracking_uri, [tmp_path / "models"]) == 0  # its process lives
    holder.close()
    assert deliver_left(tracking_uri, [tmp_path / "models"]) == 1
    (run,) = _runs(tracking_uri)
    assert _steps(tracking_uri, run) == [1, 2, 3, 4]
    assert deliver_left(tracking_uri, [tmp_path / "models"]) == 0


def test_without_its_store_a_known_run_goes_on_and_keeps_all(
    tracking_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _report(tracking_uri, tmp_path / "out", 1)
    journal = tmp_path / "out" / FOLDER
    nobody = f"http://127.0.0.1:{free_port()}"
    run = json.loads((journal / "run.json").read_text())
    (journal / "run.json").write_text(json.dumps(run | {"store": nobody}))
    monkeypatch.setattr(sender, "PATIENCE", 0.5)
    _report(nobody, tmp_path / "out", 1, 2)
    assert "no answer" in caplog.text
    assert f"they are kept in {journal}" in caplog.text
    (journal / "run.json").write_text(json.dumps(run))
    left = Journal(journal)
    assert left.left() != NOTHING
    sender.send_left(tracking_uri, [left])
    assert left.left() == NOTHING
    (known,) = _runs(tracking_uri)
    assert _steps(tracking_uri, known) == [1, 2]
    assert read_run(journal) == tuple(run.values())


def test_pictures_wait_for_an_s3_server_that_is_down(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers do not wait for it, and the run ends in time."""

    def report(s3: S3, *steps: int) -> None:
        for name, value in (s3.environment | {"MLFLOW_S3_ENDPOINT_URL": s3.endpoint}).items():
            monkeypatch.setenv(name, value)
        _report(tracking_uri, tmp_path / "out", *steps)
        for thread in threading.enumerate():  # of a process that has not ended
            if thread.name == "tracking":
                thread.join()

    port, key = free_port(), "a key that the client keeps"
    monkeypatch.setattr("tools.local_services.free_port", lambda: port)
    monkeypatch.setattr("secrets.token_urlsafe", lambda count: key)
    client = open_store(tracking_uri).MlflowClient()
    client.create_experiment("refsr", artifact_location="s3://pictures/refsr")
    with s3_server(tmp_path / "weed", "pictures") as up:
        report(up, 1)
    report(up, 1, 2)
    (run,) = _runs(tracking_uri)
    assert (run.info.status, _steps(tracking_uri, run)) == ("FINISHED", [1, 2])
    assert len(list((tmp_path / "out" / FOLDER / "files").iterdir())) == 1
    with s3_server(tmp_path / "weed", "pictures") as again:
        for _ in range(4):  # what a busy machine does not send in time, the next stage does
            report(again, 1, 2, 3)
            (run,) = _runs(tracking_uri)
            assert _steps(tracking_uri, run) == [1, 2, 3]
            if _pictures(tracking_uri, run) == 3:
                break
        assert _pictures(tracking_uri, run) == 3
