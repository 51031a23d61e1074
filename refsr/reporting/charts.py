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


def ticks(low: float, high: float, count: int = 4) -> tuple[np.ndarray, int]:
    """Round numbers at equal distances, the first at or below `low`, the last at or above `high`.

    The distance is 1, 2 or 5 times a power of ten, so that there are about `count` of them.

    Returns:
        The numbers, and how many digits after the point they have.
    """
    least = ((high - low) or abs(high) or 1.0) / count
    power = 10.0 ** np.floor(np.log10(least))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    digits = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    numbers = np.arange(first, max(last, first + 1) + 1) * step
    return np.round(numbers, digits) + 0.0, digits  # + 0.0: no -0


def forest(
    intervals: Mapping[str, Mapping[str, float]],
    marks: Sequence[float] = (),
    *,
    sign: bool = False,
) -> dict[str, Any]:
    """Dots with whiskers on one axis: {ticks, marks, rows: {name: {left, width, dot}}}.

    Places are in percent; `ticks` are {place, text}, with a sign where that is asked for.
    """
    ends = [
        interval[key] for interval in intervals.values() for key in ("low", "mean", "high")
    ] + list(marks)
    numbers, digits = ticks(min(ends), max(ends))
    low, span = numbers[0], numbers[-1] - numbers[0]
    plus = "+" if sign else ""

    def place(value: float) -> float:
        return round(float(100 * (value - low) / span), 2)

    rows = {
        name: {
            "left": place(interval["low"]),
            "width": round(place(interval["high"]) - place(interval["low"]), 2),
            "dot": place(interval["mean"]),
        }
        for name, interval in intervals.items()
    }
    labels = [
        {"place": place(number), "text": format(number, f"{plus if number else ''}.{digits}f")}
        for number in numbers
    ]
    return {"ticks": labels, "marks": [place(mark) for mark in marks], "rows": rows}


def ranking(values: Sequence[float]) -> dict[str, Any]:
    """A bar per value from the least to the greatest, around zero.

    {low, high, zero, bars: [{left, width, top, height, up}]}: in percent of the box, y downwards.
    """
    ordered = sorted(values)
    numbers, digits = ticks(min(0.0, ordered[0]), max(0.0, ordered[-1]), 2)
    low, span = numbers[0], numbers[-1] - numbers[0]
    zero, width = 100 + 100 * low / span, 100 / len(ordered)
    bars = []
    for number, value in enumerate(ordered):
        height = 100 * value / span
        bar = {"left": number * width, "width": width, "top": zero - max(0.0, height)}
        bars.append({key: round(float(x), 2) for key, x in (bar | {"height": abs(height)}).items()})
    return {
        "low": format(numbers[0], f"+.{digits}f"),
        "high": format(numbers[-1], f"+.{digits}f"),
        "zero": round(float(zero), 2),
        "bars": bars,
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
    low, high = _bounds(min(right, wrong, none), max(right, wrong, none))

    def place(value: float) -> float:
        return round(100 - 100 * float(value - low) / (high - low), 2)

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
    high = _bounds(0.0, max(max(point) for point in points))[1]
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
    least, most = everything[:, 1].min(), everything[:, 1].max()
    steps = everything[:, 0].max()
    log = bool(least > 0 and most / least > LOG_FROM)
    low, high = _powers(least, most) if log else _bounds(least, most)
    drawn = {model: _path(points, steps, low, high, log) for model, points in lines.items()}
    return {
        "name": name,
        "low": float(low),
        "high": float(high),
        "log": log,
        "steps": int(steps),
        "lines": drawn,
    }


def _bounds(low: float, high: float) -> tuple[float, float]:
    """The round numbers that a chart of values from `low` to `high` ends at."""
    numbers, _ = ticks(low, high)
    return float(numbers[0]), float(numbers[-1])


def _powers(low: float, high: float) -> tuple[float, float]:
    """The powers of ten at the ends of a logarithmic chart."""
    ends = np.floor(np.log10(low) + 1e-9), np.ceil(np.log10(high) - 1e-9)
    return float(10.0 ** ends[0]), float(10.0 ** ends[1])


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
