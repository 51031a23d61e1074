"""The faces of the service compared with those of training: page, lines of a terminal, JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_images, to_pixels
from refsr.errors import RefsrError
from refsr.evaluation import drift
from refsr.evaluation.drift import Shift, Verdict
from refsr.inference.image_statistics import STATISTICS, image_statistics
from refsr.inference.request_log import RequestLog, require_statistics
from refsr.models.compatibility import MISFIT
from refsr.reporting import page
from refsr.reporting.charts import ticks
from refsr.reporting.terminal import aligned

SPLIT, ROLE = "validation", "image"
MOST = 4000  # faces of the curated set that are measured
SENTENCES: dict[Verdict, str] = {
    "same": "The faces look as in training.",
    "watch": "The faces differ a little from training: one of the two tests says so.",
    "drift": "The faces look different from training: expect worse results than evaluated.",
}
_BATCH = 256
_BINS = 24
_PERCENTS = (5, 50, 95)


@dataclass(frozen=True)
class Trained:
    """The small faces of people of a curated set, made as training makes them.

    Attributes:
        values: By name of a statistic the numbers of the faces.
        people: How many they are of.
        revision: Of the data.
    """

    values: dict[str, np.ndarray]
    people: int
    revision: str


@dataclass(frozen=True)
class Examined:
    """All that the page is made from."""

    trained: Trained
    log: RequestLog
    shifts: dict[str, Shift]

    @property
    def verdict(self) -> Verdict:
        """That of the statistic that differs most."""
        return drift.worst(self.shifts)


def trained(curated: Curated, scale: int, revision: str) -> Trained:
    """Measure validation people, whom no training step has seen.

    Raises RefsrError where there are none.
    """
    table = curated.table
    chosen = (table["split"] == SPLIT) & (table["role"] == ROLE)
    rows = np.flatnonzero(chosen.to_numpy())
    if not len(rows):
        raise RefsrError(f"{curated.folder}: no images of the split {SPLIT}; curate with some")
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    measured = [each for at in range(0, len(rows), _BATCH)
                for each in _measured(curated, rows[at : at + _BATCH], scale)]  # fmt: skip
    values = {name: np.array([each[name] for each in measured]) for name in STATISTICS}
    return Trained(values, table["identity"].iloc[rows].nunique(), revision)


def _measured(curated: Curated, rows: np.ndarray, scale: int) -> list[dict[str, float]]:
    faces = to_pixels(reduce(to_images(curated.pixels(rows)), scale))
    return [image_statistics(face, faces.shape[1]) for face in faces]


def examine(of_training: Trained, log: RequestLog) -> Examined:
    """Compare the faces of a log. Raises RefsrError where it has too few."""
    require_statistics(log)
    seen = {name: np.asarray(values) for name, values in log.values.items()}
    compared = drift.shifts(of_training.values, seen, of_training.people, log.requests)
    return Examined(of_training, log, compared)


def facts(examined: Examined) -> dict[str, Any]:
    """Everything but the pictures, as JSON has it."""
    log, known = examined.log, examined.trained
    rows = {}
    for name, shift in examined.shifts.items():
        numbers = {"trained": known.values[name], "seen": np.asarray(log.values[name])}
        rows[name] = asdict(shift) | {key: percentiles(each) for key, each in numbers.items()}
    return {
        "verdict": examined.verdict,
        "data": known.revision,
        "people": known.people,
        "faces_of_training": len(known.values["brightness"]),
        "faces": len(log.values["brightness"]),
        "log": log_facts(log),
        "statistics": rows,
    }


def log_facts(log: RequestLog) -> dict[str, Any]:
    """What the log says beside the statistics."""
    fits, seconds = np.asarray(log.fits), np.asarray(log.seconds)
    return {
        "lines": log.lines,
        "bad_lines": log.bad,
        "requests": log.requests,
        "first": log.first,
        "last": log.last,
        "statuses": dict(log.statuses),
        "versions": dict(log.versions),
        "seconds": percentiles(seconds[np.isfinite(seconds)]),
        "references": len(fits),
        "misfits": round(float((fits < MISFIT).mean()), 4) if len(fits) else None,
    }


def percentiles(values: np.ndarray) -> dict[str, float]:
    """{p5, p50, p95}; empty without values."""
    if not len(values):
        return {}
    return {f"p{each}": round(float(np.percentile(values, each)), 4) for each in _PERCENTS}


def metrics(examined: Examined) -> dict[str, float]:
    """The numbers that a run in MLflow gets."""
    verdicts = [each.verdict for each in examined.shifts.values()]
    numbers = {f"psi.{name}": each.psi for name, each in examined.shifts.items()}
    numbers |= {f"ks.{name}": each.ks for name, each in examined.shifts.items()}
    counts = {"drifted": verdicts.count("drift"), "watched": verdicts.count("watch")}
    counts |= {"requests": examined.log.requests, "bad_lines": examined.log.bad}
    return {name: float(count) for name, count in counts.items()} | numbers


def table_text(examined: Examined) -> str:
    """Lines of a terminal."""
    known = facts(examined)
    rows = [["statistic", "training", "today", "KS", "p", "PSI", "verdict"]]
    for name, row in known["statistics"].items():
        medians = [f"{row[key]['p50']:.4g}" for key in ("trained", "seen")]
        numbers = [f"{row['ks']:.2f}", f"{row['p']:.2g}", f"{row['psi']:.2f}"]
        rows.append([STATISTICS[name].title, *medians, *numbers, row["verdict"]])
    log = known["log"]
    read = f"{log['requests']} requests of {log['lines']} lines, {log['bad_lines']} bad"
    compared = f"{known['people']} people of {known['data']}"
    sentence = SENTENCES[examined.verdict]
    return f"{read}; compared with {compared}\n\n{aligned(rows)}\n\n{sentence}"


def render(examined: Examined) -> str:
    """The page."""
    return page.render(
        "drift.html",
        known=facts(examined),
        sentence=SENTENCES[examined.verdict],
        titles=STATISTICS,
        charts={name: _chart(examined, name) for name in STATISTICS},
        significant=drift.SIGNIFICANT,
        misfit=MISFIT,
    )


def _chart(examined: Examined, name: str) -> Mapping[str, Any]:
    """Both distributions as steps in a box of 100 x 100, y downwards: {low, high, lines}."""
    groups = {
        "trained": examined.trained.values[name],
        "seen": np.asarray(examined.log.values[name]),
    }
    everything = np.concatenate(list(groups.values()))
    numbers, digits = ticks(float(everything.min()), float(everything.max()))
    low, high = float(numbers[0]), float(numbers[-1])
    edges = np.linspace(low, high, _BINS + 1)
    shares = {key: np.histogram(each, edges)[0] / len(each) for key, each in groups.items()}
    most = max(float(each.max()) for each in shares.values())
    ends = [format(number, f".{digits}f") for number in (low, high)]
    lines = {key: _steps(each / most) for key, each in shares.items()}
    return {"low": ends[0], "high": ends[1], "lines": lines}


def _steps(heights: np.ndarray) -> str:
    """The points of a polyline: each height over the width of its bin."""
    x = np.repeat(np.linspace(0, 100, len(heights) + 1), 2)[1:-1]
    y = 100 - 100 * np.repeat(heights, 2)
    return " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))
