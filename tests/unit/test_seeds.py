"""Several seeds as one result: the numbers, and the command that trains them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_curated
from scipy.stats import t

from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.evaluation.seeds import combine, student

PARAMS = """
train_sisr: {steps: 1, warm_start_step: 1, batch_size: 2, model: {width: 16, blocks: 1}}
train_refsr: {steps: 1, batch_size: 2}
evaluate: {bootstrap: 100, strips: 1, grid: 2, batch_size: 8, samples: 2, kid_images: 4}
"""


def evaluated(mean: float, people: int = 9) -> dict[str, Any]:
    interval = {"mean": mean, "low": mean - 0.3, "high": mean + 0.4}
    return {
        "data": {"identities": people, "split": "test"},
        "psnr": {"ref_right": interval},
        "tests": {"right_minus_none": {"p": mean}},
        "kid": {"reference_set": "some", "ref_right": {"mean": mean, "sd": 1.0}},
    }


def test_an_interval_holds_people_and_seeds() -> None:
    scores = [22.0, 22.2, 22.7]
    result = combine([evaluated(score) for score in scores])
    interval = result["psnr"]["ref_right"]
    deviation = np.std(scores, ddof=1)
    half = t.ppf(0.975, 2) * deviation / np.sqrt(3)
    assert interval["mean"] == pytest.approx(22.3)
    assert interval["deviation"] == pytest.approx(deviation)
    assert interval["low"] == pytest.approx(22.3 - np.hypot(0.3, half), rel=1e-3)
    assert interval["high"] == pytest.approx(22.3 + np.hypot(0.4, half), rel=1e-3)
    assert result["kid"] == {"reference_set": "some", "ref_right": {"mean": 22.3, "sd": 1.0}}
    assert result["data"] == {"identities": 9, "split": "test", "seeds": 3}
    assert "tests" not in result


@pytest.mark.parametrize("freedom", [1, 2, 4, 9])
def test_quantiles_are_those_of_scipy(freedom: int) -> None:
    assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=0.01)


def test_one_seed_and_other_people_are_refused() -> None:
    with pytest.raises(RefsrError, match="1 seeds have no deviation"):
        combine([evaluated(22.0)])
    with pytest.raises(RefsrError, match="different people"):
        combine([evaluated(22.0), evaluated(22.0, people=8)])


def test_seeds_are_trained_once_and_measured_on_validation_people(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    Path("params.yaml").write_text(PARAMS)
    make_curated(Path("data/curated"), identities=7, train=2, validation=2)
    Path("reports/validation").mkdir(parents=True)
    assert main(["seeds", "2"]) == 0
    printed = capsys.readouterr().out
    start = "2 validation identities, 4 images, 4x4 -> 32x32; 2 seeds; mean [95% interval over"
    assert printed.startswith(start)
    folders = [Path("reports/seeds") / f"seed-{seed}" for seed in (0, 1)]
    scores = [
        json.loads((folder / "evaluation/metrics.json").read_text())["psnr"]["ref_right"]["mean"]
        for folder in folders
    ]
    assert scores[0] != scores[1]
    right = next(line for line in printed.splitlines() if line.startswith("RefSR, right"))
    assert f"{np.mean(scores):.2f} [" in right and " +/- " in right
    made = [(folder / "refsr/model.safetensors").stat().st_mtime_ns for folder in folders]
    assert main(["seeds", "2"]) == 0
    assert capsys.readouterr().out == printed
    assert [(folder / "refsr/model.safetensors").stat().st_mtime_ns for folder in folders] == made
    assert Path("reports/seeds/combined/table.txt").read_text() == printed


@pytest.mark.parametrize("name", ["combined/table.txt", "seed-0/seed.json"])
def test_seeds_replace_no_file_of_a_user(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tracking_uri: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    Path("params.yaml").write_text(PARAMS)
    mine = Path("reports/seeds") / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert main(["seeds", "2"]) == 1
    assert "delete it yourself" in capsys.readouterr().err
    assert mine.read_text() == "mine"
