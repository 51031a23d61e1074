"""The page and the table of limits that a raw set's own images propose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refsr.curation.calibration_limits import Limit
from refsr.reporting import page
from refsr.reporting.charts import ticks
from refsr.reporting.terminal import aligned

_BINS = 48
_TITLES = {
    "min_box": "shorter side of the face box, px",
    "min_sharpness": "sharpness",
    "min_face_probability": "probability of a face",
    "max_duplicate_bits": "bits between two hashes",
    "max_identity_distance": "distance to a mean face",
}


@dataclass(frozen=True)
class Calibrated:
    """All that the page is made from."""

    raw: str
    people: int
    faces: int
    looked_at: int
    seed: int
    limits: Sequence[Limit]
    likeness: np.ndarray  # of pairs whose hashes and embeddings are near


def render(calibrated: Calibrated) -> str:
    """The page."""
    charts = {limit.name: _chart(limit) for limit in calibrated.limits}
    likeness = {"near pairs": calibrated.likeness}
    return page.render(
        "calibration.html",
        calibrated=calibrated,
        charts=charts,
        titles=_TITLES,
        likeness=densities(likeness) if len(calibrated.likeness) else None,
        share=_share,
    )


def _chart(limit: Limit) -> dict[str, Any]:
    marks = {"now": limit.now, "proposed": limit.proposed}
    return densities(limit.distributions, marks)


def densities(
    groups: Mapping[str, np.ndarray], marks: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Histograms below each other on one axis, each as high as its highest bar.

    {ticks: [{place, text}], marks: {name: place}, bars: {group: [{left, width, top, height}]}}, in
    percent of the box, y downwards.
    """
    marks = marks or {}
    values = np.concatenate([*groups.values(), np.array([*marks.values()])]).astype(float)
    numbers, digits = ticks(float(values.min()), float(values.max()))
    low, span = float(numbers[0]), float(numbers[-1] - numbers[0])
    edges = np.linspace(low, low + span, _BINS + 1)
    return {
        "ticks": [
            {"place": _percent(number, low, span), "text": f"{number:.{digits}f}"}
            for number in numbers
        ],
        "marks": {name: _percent(value, low, span) for name, value in marks.items()},
        "bars": {name: _bars(group, edges) for name, group in groups.items() if len(group)},
        "counts": {name: len(group) for name, group in groups.items()},
    }


def _percent(value: float, low: float, span: float) -> float:
    return round(float(100 * (value - low) / span), 2)


def _bars(values: np.ndarray, edges: np.ndarray) -> list[dict[str, float]]:
    counts = np.histogram(values, edges)[0]
    heights = 100 * counts / counts.max()
    width = 100 / len(counts)
    return [
        {"left": at * width, "width": width, "top": 100 - height, "height": height}
        for at, height in enumerate(heights.tolist())
        if height
    ]


def table_text(calibrated: Calibrated) -> str:
    """The limits as lines of a terminal."""
    header = ["limit", "now", "proposed", "recall", "precision", "good lost", "left out"]
    rows = [header, *(_row(limit) for limit in calibrated.limits)]
    notes = [f"{limit.name}: {limit.basis}" for limit in calibrated.limits]
    return "\n".join([_sample_text(calibrated), "", aligned(rows), "", *notes])


def _sample_text(calibrated: Calibrated) -> str:
    return (
        f"{calibrated.raw}: {calibrated.faces:,} faces of {calibrated.people:,} people "
        f"in a sample of {calibrated.looked_at:,} images, seed {calibrated.seed}"
    )


def _row(limit: Limit) -> list[str]:
    shares = (limit.recall, limit.precision, limit.lost, limit.left_out)
    return [limit.name, f"{limit.now:g}", f"{limit.proposed:g}", *map(_share, shares)]


def _share(value: float) -> str:
    return f"{value:.1%}" if value == value else "-"


def document(calibrated: Calibrated) -> dict[str, Any]:
    """All numbers; NaN as null."""
    return {
        "raw": calibrated.raw,
        "images": calibrated.looked_at,
        "faces": calibrated.faces,
        "people": calibrated.people,
        "seed": calibrated.seed,
        "limits": {limit.name: _numbers(limit) for limit in calibrated.limits},
    }


def _numbers(limit: Limit) -> dict[str, Any]:
    keys = ("now", "proposed", "recall", "precision", "lost", "left_out")
    values = {key: getattr(limit, key) for key in keys}
    numbers = {key: value if value == value else None for key, value in values.items()}
    percentiles = {
        name: np.round(np.percentile(group, (1, 25, 50, 75, 99)), 4).tolist()
        for name, group in limit.distributions.items()
        if len(group)
    }
    return numbers | {"basis": limit.basis, "percentiles": percentiles}
