"""What an evaluation leaves behind: numbers, tables, pictures, and one HTML page that opens without a network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refsr.evaluation import page
from refsr.evaluation.charts import curves, forest
from refsr.evaluation.figures import Grid, Strip, sheet
from refsr.evaluation.statistics import ARMS, DIFFERENCES, METRICS
from refsr.evaluation.table import COLUMNS, LOWER_IS_BETTER, NAMES, table_text


@dataclass(frozen=True)
class Findings:
    """All that a report is made from."""

    metrics: dict[str, Any]  # metrics.json
    table: pd.DataFrame  # a row per image and arm
    gains: pd.Series  # per person, from least to most
    strips: dict[str, list[Strip]]  # "best", "median" and "worst"
    grid: Grid
    histories: dict[str, Path]  # model -> history.csv, which may be missing
    summary: Path  # summary.json of the curated set, which may be missing


def ranked(gains: pd.Series, count: int) -> dict[str, list[str]]:
    """The `count` people with the most, the middle and the least gain: the ranking chooses them, not the eye."""
    people = [str(person) for person in gains.index]
    count = min(count, len(people))
    middle = (len(people) - count) // 2
    return {
        "best": people[::-1][:count],
        "median": people[middle : middle + count],
        "worst": people[:count],
    }


def grid_people(gains: pd.Series, count: int) -> list[str]:
    """`count` people at equal distances in the ranking, the first and the last among them."""
    places = np.linspace(0, len(gains) - 1, min(count, len(gains))).round().astype(int)
    return [str(person) for person in gains.index[places]]


def write(findings: Findings, folder: Path) -> np.ndarray:
    """Write every file of an evaluation into `folder`; returns the README's picture."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    text = table_text(findings.metrics)
    picture = sheet(findings.strips["median"])
    (folder / "metrics.json").write_text(json.dumps(findings.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / "table.txt").write_text(text, encoding="utf-8")
    (folder / "strips.png").write_bytes(page.png(picture))
    (folder / "report.html").write_text(render(findings), encoding="utf-8")
    findings.table.to_parquet(folder / "images.parquet", index=False)
    _plots(findings.table, folder / "plots")
    return picture


def _plots(table: pd.DataFrame, folder: Path) -> None:
    """Tables for `dvc plots`: means by arm, and a row per person and arm."""
    people = table.groupby(["person", "arm"], sort=False)[list(METRICS)].mean().reset_index()
    arms = people.groupby("arm", sort=False)[list(METRICS)].mean().reset_index()
    people.to_csv(folder / "per_identity.csv", index=False, float_format="%.6g")
    arms.to_csv(folder / "arms.csv", index=False, float_format="%.6g")


def render(findings: Findings) -> str:
    """The page, its images inside it."""
    return page.render(
        "report.html",
        metrics=findings.metrics,
        data=findings.metrics["data"],
        rendered=_rendered(findings.summary),
        arms=ARMS,
        names=NAMES,
        columns=COLUMNS,
        lower_is_better=LOWER_IS_BETTER,
        differences=DIFFERENCES,
        arm_charts={key: _arm_chart(findings.metrics, key) for key in COLUMNS},
        difference_charts={key: _difference_chart(findings.metrics, key) for key in ("psnr", "identity")},
        curves=curves(findings.histories),
        strips=findings.strips,
        scores=_scores(findings),
        gains=findings.gains,
        grid=findings.grid,
    )


def _rendered(summary: Path) -> bool | None:
    """Whether the faces were drawn by a program; None where the curated set does not say."""
    if not summary.is_file():
        return None
    value = json.loads(summary.read_text(encoding="utf-8")).get("rendered")
    return None if value is None else bool(value)


def _arm_chart(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    marks: Sequence[float] = list(metrics["identity_scale"].values()) if key == "identity" else []
    return forest({arm: metrics[key][arm] for arm in ARMS}, marks)


def _difference_chart(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    return forest({other: metrics["difference"][name][key] for name, other in DIFFERENCES.items()}, [0.0])


def _scores(findings: Findings) -> dict[tuple[str, str], dict[str, float]]:
    """(source, arm) -> PSNR and identity, for the captions of the strips."""
    shown = {strip.source for group in findings.strips.values() for strip in group}
    rows = findings.table[findings.table["source"].isin(shown)]
    columns = (rows[key].tolist() for key in ("source", "arm", "psnr", "identity"))
    return {(source, arm): {"psnr": p, "identity": i} for source, arm, p, i in zip(*columns, strict=True)}
