"""The results as a plain table, the same in the terminal, in table.txt and in a README."""

from collections.abc import Iterator, Mapping
from typing import Any

from refsr.evaluation.conditions import CONDITIONS, DIFFERENCES
from refsr.evaluation.metrics import METRICS, in_table

COLUMN, FIRST = 26, 30  # characters


def table_text(metrics: Mapping[str, Any]) -> str:
    """The conditions and the paired differences of a metrics.json, as lines of ASCII."""
    lines = [about(metrics), "", *_conditions(metrics), "", *_differences(metrics)]
    scale = metrics["identity_scale"]
    same, others = scale["same_person"], scale["strangers"]
    truth = f"identity of true images: same person {same:.4f}, strangers {others:.4f}"
    return "\n".join(line.rstrip() for line in [*lines, "", truth]) + "\n"


def summary_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of the short tables, as far as they were measured."""
    return [name for name in in_table("summary") if name in metrics]


def compared_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics that have paired differences."""
    rows = metrics["difference"].values()
    return [name for name in METRICS if any(name in row for row in rows)]


def _conditions(metrics: Mapping[str, Any]) -> Iterator[str]:
    names = summary_metrics(metrics)
    yield _line("", [f"{METRICS[n].short_title} ({METRICS[n].direction})" for n in names])
    for key in metrics["psnr"]:
        cells = [cell(metrics[n][key], METRICS[n].digits) for n in names]
        yield _line(CONDITIONS[key].title, cells)


def _differences(metrics: Mapping[str, Any]) -> Iterator[str]:
    names = compared_metrics(metrics)
    yield _line("right reference minus", [METRICS[n].short_title for n in names])
    for name, row in metrics["difference"].items():
        cells = [cell(row[n], METRICS[n].digits, "+") for n in names]
        yield _line(CONDITIONS[DIFFERENCES[name]].title, cells)


def about(metrics: Mapping[str, Any]) -> str:
    """What was measured, in one line."""
    return (
        "{identities} {people}, {images} images, {lr_size}x{lr_size} -> {hr_size}x{hr_size}; "
        "mean [95% interval over identities]".format(**metrics["data"], people=people(metrics))
    )


def people(metrics: Mapping[str, Any]) -> str:
    """Whose numbers these are, in words."""
    of_test = metrics["data"].get("split", "test") == "test"
    return "held-out identities" if of_test else "validation identities"


def cell(interval: Mapping[str, float], digits: int, sign: str = "") -> str:
    """`mean [low, high]` with this many digits after the point."""
    mean, low, high = (
        format(interval[key], f"{sign}.{digits}f") for key in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def _line(name: str, cells: list[str]) -> str:
    return name.ljust(FIRST) + "".join(text.ljust(COLUMN) for text in cells)
