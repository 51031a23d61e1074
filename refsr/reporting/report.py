"""The files of an evaluation: numbers, tables, pictures, and one HTML page without links."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refsr.evaluation.conditions import DIFFERENCES, MAIN, OTHERS
from refsr.evaluation.gap import OVER_WRONG
from refsr.evaluation.metrics import METRICS
from refsr.evaluation.openings import Openings
from refsr.evaluation.statistics import flatten, main_conditions, main_metrics
from refsr.headline import FILE, headline
from refsr.io import own_files
from refsr.reporting import page, tables
from refsr.reporting.captions import scores
from refsr.reporting.charts import calibration, curves, forest, wrong_share
from refsr.reporting.figures import Grid, Strip, grid_sheet, reliability, sheet
from refsr.reporting.summary import (
    compared_metrics,
    gap_sentence,
    meaning,
    people,
    summary_metrics,
    table_text,
)

BICUBIC = "bicubic"
CLASSIFICATION = "classification.json"  # as Kubeflow draws it: a ROC curve, a confusion matrix


@dataclass(frozen=True)
class Findings:
    """All that a report is made from."""

    metrics: dict[str, Any]  # metrics.json
    table: pd.DataFrame  # a row per image and condition
    gains: pd.Series  # per person, from least to most
    strips: dict[str, list[Strip]]  # "best", "median" and "worst"
    more_strips: list[Strip]  # of the conditions beside the main ones, people in the middle
    samples: list[Strip]  # of the people in the middle; none where the network draws no samples
    grid: Grid
    histories: dict[str, Path]  # model -> history.csv, which may be missing
    summary: Path  # summary.json of the curated set, which may be missing
    openings: Openings | None = None  # of the test people; None on other people
    classification: dict[str, Any] = field(default_factory=dict)  # classification.json


def ranked(gains: pd.Series, count: int) -> dict[str, list[str]]:
    """The `count` people with the most, the middle and the least gain."""
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


def write(findings: Findings, folder: Path) -> dict[str, np.ndarray]:
    """Write every file of an evaluation into `folder`.

    Returns its pictures by name, which are files there too.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    pictures = {
        "strips": sheet(findings.strips["median"]),
        "close_ups": sheet(findings.strips["median"], close=True),
        "strips_best": sheet(findings.strips["best"]),
        "strips_worst": sheet(findings.strips["worst"]),
        "strips_more_arms": sheet(findings.more_strips),
        "transfer_grid": grid_sheet(findings.grid),
    }
    if findings.samples:
        pictures["samples"] = sheet(findings.samples)
        pictures["reliability"] = reliability(findings.metrics["samples"]["calibration"])
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(page.png(picture))
    (folder / "metrics.json").write_text(
        json.dumps(findings.metrics, indent=2) + "\n",
        encoding="utf-8",
    )
    numbers = headline("evaluate", flatten(findings.metrics))
    (folder / FILE).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    (folder / CLASSIFICATION).write_text(
        json.dumps(findings.classification) + "\n", encoding="utf-8"
    )
    (folder / "table.txt").write_text(table_text(findings.metrics), encoding="utf-8")
    (folder / "results.md").write_text(tables.markdown(findings.metrics), encoding="utf-8")
    (folder / "report.html").write_text(render(findings), encoding="utf-8")
    own_files.write_parquet(findings.table, folder / "images.parquet")
    _plots(findings.table, folder / "plots")
    _interval_plots(findings.metrics, folder / "plots")
    return pictures


def _plots(table: pd.DataFrame, folder: Path) -> None:
    """Tables for `dvc plots`: means by condition, and a row per person and main condition."""
    metrics = main_metrics(table)
    chosen = table[table["arm"].isin(main_conditions(table))]
    people = chosen.groupby(["person", "arm"], sort=False)[metrics].mean().reset_index()
    means = people.groupby("arm", sort=False)[metrics].mean().reset_index()
    people.to_csv(folder / "per_identity.csv", index=False, float_format="%.6g")
    means.to_csv(folder / "arms.csv", index=False, float_format="%.6g")


def _interval_plots(metrics: dict[str, Any], folder: Path) -> None:
    """A table per compared metric for the template `intervals` of `dvc plots`."""
    for key in compared_metrics(metrics):
        rows = [{"arm": name, key: each["mean"], **each} for name, each in metrics[key].items()]
        table = pd.DataFrame(rows)[["arm", key, "low", "high"]]
        table.to_csv(folder / f"{key}_intervals.csv", index=False, float_format="%.6g")


def render(findings: Findings) -> str:
    """The page, its images inside it."""
    metrics = findings.metrics
    samples = metrics.get("samples")
    columns = {key: METRICS[key] for key in summary_metrics(metrics)}
    compared = {key: METRICS[key] for key in compared_metrics(metrics)}
    return page.render(
        "report.html",
        metrics=metrics,
        data=metrics["data"],
        people=people(metrics),
        gap=gap_sentence(metrics),
        openings=findings.openings,
        meaning=meaning(metrics, metrics["difference"][OVER_WRONG]["identity"]),
        bicubic_left_out=len(metrics["difference"]) > 1,
        rendered=_rendered(findings.summary),
        conditions=list(metrics["psnr"]),
        names={name: each.title for name, each in MAIN.items()},
        titles={name: each.title for name, each in OTHERS.items()},
        columns=columns,
        compared=compared,
        in_loss=[key for key in columns if tables.was_the_loss(metrics, key)],
        differences={name: DIFFERENCES[name] for name in metrics["difference"]},
        charts={key: _chart(metrics, key) for key in columns},
        difference_charts={key: _difference_chart(metrics, key) for key in compared},
        wrong_shares={key: wrong_share(metrics, key) for key in compared},
        calibration=calibration(samples["calibration"]) if samples else None,
        curves=curves(findings.histories),
        strips=findings.strips,
        more_strips=findings.more_strips,
        samples=findings.samples,
        scores=_scores(findings),
        gains=findings.gains,
        grid=findings.grid,
        tables=tables.tables(metrics),
    )


def _rendered(summary: Path) -> bool | None:
    """Whether the faces were drawn by a program; None where the curated set does not say."""
    if not summary.is_file():
        return None
    value = own_files.read_json(summary, "curate").get("rendered")
    return None if value is None else bool(value)


def _chart(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    marks: Sequence[float] = []
    if key == "identity":
        marks = list(metrics["identity_scale"].values())
    return forest(metrics[key], marks)


def _difference_chart(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    """Without bicubic: it is so far away that the others would stand on one point."""
    rows = {DIFFERENCES[name]: row[key] for name, row in metrics["difference"].items()}
    others = {name: row for name, row in rows.items() if name != BICUBIC}
    return forest(others or rows, [0.0], sign=True)


def _scores(findings: Findings) -> dict[tuple[str, str], str]:
    """The captions of all strips: the metrics that are compared."""
    groups = [*findings.strips.values(), findings.more_strips, findings.samples]
    shown = [strip for group in groups for strip in group]
    return scores(findings.table, shown, compared_metrics(findings.metrics))
