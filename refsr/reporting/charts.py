"""The geometry of the report's charts, in percent of their boxes.

The template draws them, for light and dark alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refsr.errors import RefsrError

MOST_POINTS = 300  # of one curve
LOG_FROM = 50.0  # greatest over least value from which a curve is drawn on a logarithmic axis


def forest(
    intervals: Mapping[str, Mapping[str, float]],
    marks: Sequence[float] = (),
) -> dict[str, Any]:
    """Dots with whiskers on one axis: {low, high, marks, rows: {name: {left, width, dot}}}.

    Places are in percent.
    """
    ends = [
        interval[key] for interval in intervals.values() for key in ("low", "mean", "high")
    ] + list(marks)
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    rows = {
        name: {
            "left": place(interval["low"]),
            "width": round(place(interval["high"]) - place(interval["low"]), 2),
            "dot": place(interval["mean"]),
        }
        for name, interval in intervals.items()
    }
    return {
        "low": low,
        "high": high,
        "marks": [place(mark) for mark in marks],
        "rows": rows,
    }


def curves(histories: Mapping[str, Path]) -> list[dict[str, Any]]:
    """A panel for every number that the trainings logged.

    Each is {name, low, high, log, steps, lines: {model: "x,y x,y"}}.
    """
    tables = {model: _history(path) for model, path in histories.items() if path.is_file()}
    names = dict.fromkeys(
        name for table in tables.values() for name in table.columns if name != "step"
    )
    return [panel for name in names if (panel := _panel(name, tables))]


def _history(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
        if "step" not in table or not len(table):
            raise ValueError("no column step")
        return table.astype(float)
    except (OSError, ValueError) as error:
        raise RefsrError(f"{path}: damaged; run the training stage that wrote it again") from error


def wrong_share(metrics: Mapping[str, Any], key: str) -> dict[str, Any]:
    """RefSR's mean over the share of wrong references, and the mean without any reference.

    {low, high, line, none, mark}: `line` are points of a polyline in a box of 100 x 100, y
    downwards, `none` a height and `mark` the break-even share.
    """
    right, wrong, none = (
        metrics[key][name]["mean"] for name in ("ref_right", "ref_wrong", "ref_none")
    )
    low, high = min(right, wrong, none), max(right, wrong, none)

    def place(value: float) -> float:
        return round(100 - 100 * float(value - low) / ((high - low) or 1.0), 2)

    return {
        "low": low,
        "high": high,
        "line": f"0,{place(right)} 100,{place(wrong)}",
        "none": place(none),
        "mark": round(100 * metrics["break_even"][key]["mean"], 2),
    }


def calibration(bins: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Actual error over predicted spread: {high, line}.

    Both axes run from 0 to the greatest of either.
    """
    points = [(each["predicted"], each["actual"]) for each in bins.values()]
    high = max(max(point) for point in points) or 1.0
    dots = [(round(100 * x / high, 2), round(100 - 100 * y / high, 2)) for x, y in points]
    return {"high": high, "line": " ".join(f"{x},{y}" for x, y in dots)}


def _panel(name: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """One panel; None where the column holds no finite number."""
    lines = {
        model: _points(table, name) for model, table in tables.items() if name in table.columns
    }
    lines = {model: points for model, points in lines.items() if len(points)}
    if not lines:
        return None
    everything = np.concatenate(list(lines.values()))
    low, high = everything[:, 1].min(), everything[:, 1].max()
    steps = everything[:, 0].max()
    log = bool(low > 0 and high / low > LOG_FROM)
    drawn = {model: _path(points, steps, low, high, log) for model, points in lines.items()}
    return {
        "name": name,
        "low": float(low),
        "high": float(high),
        "log": log,
        "steps": int(steps),
        "lines": drawn,
    }


def _points(table: pd.DataFrame, name: str) -> np.ndarray:
    """(N, 2) of step and value, where both are finite."""
    points: np.ndarray = table[["step", name]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    points = points[np.isfinite(points).all(1)]
    return points[:: max(1, -(-len(points) // MOST_POINTS))]


def _path(points: np.ndarray, steps: float, low: float, high: float, log: bool) -> str:
    """The points of an SVG polyline in a box of 100 x 100, y downwards."""
    y, bounds = points[:, 1], np.array([low, high])
    if log:
        y, bounds = np.log(y), np.log(bounds)
    x = 100 * points[:, 0] / (steps or 1.0)
    y = 100 - 100 * (y - bounds[0]) / ((bounds[1] - bounds[0]) or 1.0)
    return " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))


def histogram(groups: Mapping[str, np.ndarray], bins: int = 32) -> dict[str, Any] | None:
    """Stacked bars, {low, high, median, most, bars: {group: [{left, width, top, height}]}}.

    None without finite values.

    Places are in percent of the box, y downwards. Whole numbers of few values get a bar each.
    """
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    everything = np.concatenate(list(finite.values())) if finite else np.empty(0)
    if not len(everything):
        return None
    edges = _edges(everything, bins)
    counts = np.stack(
        [np.histogram(values, edges)[0] for values in finite.values()]
    )  # (groups, bars)
    tops = counts.cumsum(axis=0)
    most = int(tops[-1].max())
    return {
        "low": float(everything.min()),
        "high": float(everything.max()),
        "median": float(np.median(everything)),
        "most": most,
        "bars": {name: _bars(counts[at], tops[at], most) for at, name in enumerate(finite)},
    }


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low == high or (high - low < bins and bool((values == values.round()).all())):
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, bins + 1)


def _bars(counts: np.ndarray, tops: np.ndarray, most: int) -> list[dict[str, float]]:
    width = 100 / len(counts)
    return [
        {
            "left": round(place * width, 2),
            "width": round(width, 2),
            "top": round(100 - 100 * float(top) / most, 2),
            "height": round(100 * float(count) / most, 2),
        }
        for place, (count, top) in enumerate(zip(counts, tops, strict=True))
        if count
    ]
