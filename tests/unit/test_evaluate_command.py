"""`python -m refsr evaluate` for a registered model on any curated set, and `show --markdown`."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from helpers import make_curated

from refsr.__main__ import main
from refsr.config import Evaluate, Register
from refsr.dataset.curated import Curated
from refsr.evaluation.openings import record
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import CHECKPOINT, Registry
from refsr.integrations.tracking import start_run
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.steps.register import example

PARAMS = (
    "evaluate: {bootstrap: 100, strips: 1, grid: 2, batch_size: 8, samples: 2, kid_images: 4}\n"
)


@pytest.fixture
def registered(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one version, champion, and a curated set that it never saw;
    the present folder holds both.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    folder = Path.cwd()
    (folder / "params.yaml").write_text(PARAMS)
    make_curated(folder / "other set", identities=5, images=1, validation=2)
    torch.manual_seed(0)
    save_model(folder / CHECKPOINT, CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    (folder / "metrics.json").write_text("{}")
    with start_run(tracking_uri, "register", Register()) as tracker:
        registry = Registry(tracking_uri, "refsr")
        made_for = example({"hr_size": 32, "scale": 4})
        model = registry.log(folder / CHECKPOINT, folder / "metrics.json", made_for)
        assert registry.add(tracker, model, {}, None) == "1"
    return folder


def test_any_registered_model_on_any_curated_set(
    registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", "models:/refsr@champion", "--data", "other set"]) == 0
    assert "-> reports/model" in capsys.readouterr().out
    by_registry = (registered / "reports/model/metrics.json").read_text()
    again = ["--refsr", CHECKPOINT, "--curated", "other set", "--evaluation", "reports/evaluation"]
    assert main(["evaluate", *again]) == 0
    assert (registered / "reports/evaluation/metrics.json").read_text() == by_registry
    page = (registered / "reports/evaluation/report.html").read_text()
    assert "opened by this model only" in page
    capsys.readouterr()
    assert main(["show", "--markdown"]) == 0
    assert capsys.readouterr().out == (registered / "reports/evaluation/results.md").read_text()


def test_every_opening_is_recorded_and_a_report_names_each_model_once(
    tracking_uri: str, tmp_path: Path
) -> None:
    faces = Curated(make_curated(tmp_path / "curated", identities=3, images=1))
    sentences, counts = [], []
    for model in (b"first", b"second", b"second"):  # the last as after a kill
        (tmp_path / CHECKPOINT).write_bytes(model)
        with start_run(tracking_uri, "evaluate", Evaluate()) as tracker:
            sentences.append(record(tracker, faces, 4, tmp_path / CHECKPOINT).sentence)
        metrics = open_store(tracking_uri).MlflowClient().get_run(tracker.run_id).data.metrics
        counts.append((metrics["opened.times"], metrics["opened.models"]))
    assert counts == [(1, 1), (2, 2), (3, 2)]
    first, second = (hashlib.sha256(each).hexdigest()[:12] for each in (b"first", b"second"))
    assert sentences[0].endswith(f"opened by this model only: {first}.")
    assert sentences[1].endswith(f"opened by 2 models: {first}, {second}; this is {second}.")
    assert sentences[2] == sentences[1]


def test_validation_people_are_evaluated_without_opening_the_test(registered: Path) -> None:
    command = ["evaluate", "--model", CHECKPOINT, "--data", "other set", "--split"]
    reports = []
    for split in ("validation", "test"):
        assert main([*command, split]) == 0
        document = json.loads((registered / "reports/model/metrics.json").read_text())
        people = {"validation": 2, "test": 3}[split]
        assert (document["data"]["split"], document["data"]["identities"]) == (split, people)
        reports.append((registered / "reports/model/report.html").read_text())
    assert "2 validation identities" in reports[0] and "were opened" not in reports[0]
    assert "3 held-out identities" in reports[1] and "opened by this model only" in reports[1]
    table = (registered / "reports/model/table.txt").read_text()
    assert table.startswith("3 held-out identities")


@pytest.mark.parametrize(
    ("model", "message"),
    [("models:/refsr@nobody", "has no version 'nobody'"), ("nowhere.safetensors", "no such file")],
)
def test_a_model_that_is_not_there_is_one_message(
    model: str, message: str, registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", model, "--data", "other set"]) == 1
    assert message in capsys.readouterr().err
    assert not (registered / "reports").exists() or not list((registered / "reports").iterdir())
