"""The whole road in a scratch copy of the repository, in a folder with a space in its name,
under a tight umask.
"""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers import run_in

from refsr.evaluation.statistics import flatten
from refsr.headline import headline

CONDITIONS = ("bicubic", "sisr", "ref_none", "ref_wrong", "ref_right")
STAGES = ("synthesize", "curate", "validate", "train_sisr", "train_refsr", "evaluate", "register")


def _refsr(folder: Path, *arguments: str, status: int = 0) -> str:
    return run_in(folder, sys.executable, "-m", "refsr", *arguments, status=status)


def _repro(folder: Path, *arguments: str, status: int = 0) -> str:
    return run_in(folder, sys.executable, "-m", "dvc", "repro", *arguments, status=status)


def _ran(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def _change(folder: Path, section: str, **values: object) -> None:
    document = yaml.safe_load((folder / "params.yaml").read_text())
    document[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(document))


def test_no_champion_yet_is_a_clear_message(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((8, 8, 3), 128, np.uint8))
    output = _refsr(tmp_path, "upscale", "small.png", "-o", "out.png", status=1)
    assert "refsr: error: " in output
    assert "champion" in output
    assert not (tmp_path / "out.png").exists()


def test_metrics_have_the_agreed_keys_and_ordered_intervals(scratch: Path) -> None:
    metrics = json.loads((scratch / "reports/evaluation/metrics.json").read_text())
    rows = [
        metrics[metric][condition]
        for metric in ("psnr", "ssim", "identity", "perceptual")
        for condition in CONDITIONS
    ]
    rows += [
        metrics["difference"][f"right_minus_{other}"][metric]
        for other in ("wrong", "none", "sisr", "bicubic")
        for metric in ("psnr", "identity")
    ]
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    shown = json.loads(run_in(scratch, sys.executable, "-m", "dvc", "metrics", "show", "--json"))
    assert shown[""]["data"]["reports/evaluation/headline.json"]["data"] == headline(
        "evaluate", flatten(metrics)
    )
    plot = ("plots", "show", "--show-vega", "PSNR by condition")
    drawn = run_in(scratch, sys.executable, "-m", "dvc", *plot)
    shown, _ = json.JSONDecoder().raw_decode(drawn[drawn.index("{") :])
    dots = shown["data"]["values"]
    assert [each["arm"] for each in dots] == list(CONDITIONS)
    assert float(dots[0]["high"]) == pytest.approx(metrics["psnr"]["bicubic"]["high"], rel=1e-4)


def test_nothing_runs_again_and_a_parameter_reruns_only_what_follows(scratch: Path) -> None:
    assert _ran(_repro(scratch)) == []
    _change(scratch, "evaluate", bootstrap=201)
    assert _ran(_repro(scratch)) == ["evaluate", "register"]


def test_a_user_upscales_promotes_and_rolls_back(scratch: Path) -> None:
    small, portrait = scratch / "small.png", scratch / "portrait.jpg"
    rng = np.random.default_rng(0)
    cv2.imwrite(str(small), rng.integers(0, 255, (4, 4, 3), np.uint8))
    cv2.imwrite(str(portrait), rng.integers(0, 255, (90, 70, 3), np.uint8))
    _refsr(scratch, "upscale", "small.png", "--ref", "portrait.jpg", "-o", "out 1.png")
    assert cv2.imread(str(scratch / "out 1.png")).shape == (32, 32, 3)
    assert "version 1" in _refsr(scratch, "promote", "1")
    assert "refsr: error:" in _refsr(scratch, "rollback", status=1)


def test_the_commands_of_the_tutorial(scratch: Path) -> None:
    page = (scratch / "docs/tutorial.md").read_text()
    script = "".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    output = run_in(scratch, "sh", "-ec", script)
    assert "large.png: enlarged" in output
    assert "no evidence" in output
    assert all((scratch / name).is_file() for name in ("large.png", "large.sheet.png"))


def test_bad_input_is_one_message_and_leaves_nothing_half_written(scratch: Path) -> None:
    before = (scratch / "data/curated/manifest.parquet").read_bytes()
    paths = ("--raw", "data/nowhere", "--curated", "data/curated")
    assert "data/nowhere: no such file or folder" in _refsr(scratch, "curate", *paths, status=1)
    (scratch / "bad.yaml").write_text("curate: {hr_sise: 64}\n")
    paths = ("--params", "bad.yaml", "--raw", "data/rendered", "--curated", "data/curated")
    assert "bad.yaml: curate.hr_sise: unknown parameter" in _refsr(
        scratch, "curate", *paths, status=1
    )
    assert (scratch / "data/curated/manifest.parquet").read_bytes() == before
    assert not list((scratch / "data").glob("*.partial*"))
