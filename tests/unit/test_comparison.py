"""Two models on the same people: numbers by hand, and the command as a user runs it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import make_curated
from pages import pictures

from refsr.__main__ import main
from refsr.evaluation import comparison
from refsr.evaluation.openings import MODEL
from refsr.integrations.mlflow_store import open_store
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr

LEVELS = {"A_right": 5.0, "A_none": 3.0, "A_wrong": 2.0, "B_right": 6.0, "B_none": 3.0}


def _table(people: int = 6) -> pd.DataFrame:
    """B is better by 1 with the right reference and by as much as the person's number less 2.5
    with a wrong one; without a reference both are the same. Two images of a person.
    """
    levels = {person: LEVELS | {"B_wrong": 2.0 + person - 2.5} for person in range(people)}
    return pd.DataFrame(
        {"person": str(person), "arm": name, "psnr": level + image, "ssim": 0.5, "identity": level}
        for person, row in levels.items()
        for name, level in row.items()
        for image in (0.0, 1.0)
    )


def test_differences_are_of_the_same_person_and_say_where_zero_is_held() -> None:
    result = comparison.summary(_table(), 500, 0)
    difference = result["difference"]
    assert difference["right"]["psnr"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert difference["wrong"]["psnr"]["low"] < 0 < difference["wrong"]["psnr"]["high"]
    assert difference["gain"]["psnr"]["mean"] == pytest.approx(1.0)
    assert result["means"]["psnr"]["A_right"]["mean"] == 5.5
    assert comparison.sentence(result, "right") == (
        "Right reference: B is better in PSNR dB and identity; "
        "in SSIM no difference is shown, the interval holds zero."
    )
    tiny = _table().assign(ssim=lambda rows: 0.5 + 1e-6 * rows["arm"].str.startswith("B"))
    assert comparison.sentence(comparison.summary(tiny, 500, 0), "right").endswith(
        "in SSIM they differ by less than the digits shown."
    )
    nothing = "in PSNR dB, SSIM and identity no difference is shown, the interval holds zero."
    assert comparison.sentence(result, "none") == f"No reference: {nothing}"
    assert comparison.sentence(result, "wrong") == f"Wrong reference: {nothing}"


@pytest.mark.parametrize(
    ("low", "high", "metric", "better"),
    [
        (0.1, 0.2, "psnr", "B"),
        (-0.2, -0.1, "psnr", "A"),
        (0.1, 0.2, "perceptual", "A"),
        (0.0, 0.2, "psnr", ""),
        (0.001, 0.004, "psnr", "same"),
    ],
)
def test_the_better_model(low: float, high: float, metric: str, better: str) -> None:
    assert comparison.verdict({"low": low, "high": high}, metric) == better


@pytest.fixture
def scratch(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A curated set and two models, in the present folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    (tmp_path / "params.yaml").write_text("evaluate: {bootstrap: 100, strips: 1}\n")
    make_curated(tmp_path / "set", identities=6, images=1, validation=3)
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        torch.manual_seed(seed)
        network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1)
        save_model(tmp_path / name / "model.safetensors", network)
    return tmp_path


def test_two_checkpoints_are_compared_on_one_page(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "one", "two", "--data", "set"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("3 validation identities, 3 images, 8x8 -> 32x32;")
    assert "\nA: one\nB: two\n" in text
    assert "Right reference: " in text
    page = scratch / "reports" / "comparison.html"
    assert len(pictures(page.read_text())) == 3 * (1 + 6 + 3)  # LR, outputs, HR and references
    before = page.read_bytes()
    command = ["compare", "one/model.safetensors", "one", "--data", "set"]
    assert main([*command, "--split", "test", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    zero = {"mean": 0.0, "low": 0.0, "high": 0.0}
    for row in result["difference"].values():
        assert list(row.values()) == [zero] * 3
    assert page.read_bytes() != before
    client = open_store(f"sqlite:///{scratch}/mlflow.db").MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("refsr").experiment_id])
    assert [run.info.run_name for run in runs] == ["compare"] * 2  # the test people were looked at
    assert all(MODEL in run.data.tags for run in runs)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["one", "9"], "no version '9'"),
        (["one", "nowhere/model.safetensors"], "nowhere/model.safetensors: no such checkpoint"),
        (["one", "three"], "B, three: its scale is 8, that of A is 4"),
        (["one", "two", "-o", "one/model.safetensors"], "is the input A one/model.safetensors"),
    ],
)
def test_what_cannot_be_compared_is_one_message(
    scratch: Path, command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (scratch / "three").mkdir()
    network = CompactRefsr(hr_size=32, scale=8, width=16, blocks=1)
    save_model(scratch / "three" / "model.safetensors", network)
    assert main(["compare", *command, "--data", "set"]) == 1
    assert message in capsys.readouterr().err
    assert not (scratch / "reports").exists()
