"""The results as a plain table, the same in the terminal, in table.txt and in a README."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from refsr.evaluation.conditions import CONDITIONS, DIFFERENCES, RIGHT
from refsr.evaluation.gap import FOUR
from refsr.evaluation.metrics import METRICS, in_table

COLUMN, FIRST, WIDTH, DEVIATION = 26, 30, 100, 12  # characters

_GAPS = {"identity": ("identity", ".4f"), "tar": ("verification, TAR,", ".3f")}


def table_text(metrics: Mapping[str, Any]) -> str:
    """The conditions and the paired differences of a metrics.json, as lines of ASCII."""
    sentence = textwrap.wrap(gap_sentence(metrics), WIDTH)
    lines = [about(metrics), "", *sentence, "", *_conditions(metrics), "", *_differences(metrics)]
    scale = metrics["identity_scale"]
    same, others = scale["same_person"], scale["strangers"]
    truth = f"identity of true images: same person {same:.4f}, strangers {others:.4f}"
    rated = textwrap.wrap(compatibility_sentence(metrics), WIDTH)
    return "\n".join(line.rstrip() for line in [*lines, "", truth, *rated]) + "\n"


def compatibility_sentence(metrics: Mapping[str, Any]) -> str:
    """How well the model tells right from wrong references, in words; "" where it does not."""
    if "compatibility" not in metrics:
        return ""
    wrong = metrics["compatibility"]["references"]["wrong"]
    start = f"compatibility: AUC {cell(wrong['auc'], 3)} of right against wrong references"
    costs = [
        f"{cell(wrong['fitting'][key], METRICS[key].digits, '+')} {METRICS[key].unit}"
        for key in METRICS
        if key in wrong["fitting"]
    ]
    if not costs:
        return f"{start}; no wrong one is rated as fitting"
    share = f"{100 * wrong['fits']['mean']:.0f}% of the wrong ones are rated as fitting"
    return f"{start}; {share}, and change {' and '.join(costs)} over no reference"


def gap_sentence(metrics: Mapping[str, Any]) -> str:
    """How much of the gap between no reference and true photos is closed, in words."""
    return " ".join(_gap_closed(metrics, key, *names) for key, names in _GAPS.items())


def _gap_closed(metrics: Mapping[str, Any], key: str, name: str, shape: str) -> str:
    gap = metrics["gap"]
    levels = {of: format(value, shape) for of, value in gap["levels"][key].items()}
    if key not in gap[RIGHT]:
        return (
            f"In {name} there is no gap: {levels['without']} without a reference, "
            f"{levels['true']} of true photos of the person."
        )
    closed = f"One reference closes {_percent(gap[RIGHT][key])} of the gap in {name}"
    closed += " between no reference and true photos of the person"
    closed += " ({without} -> {with} of {true})".format(**levels)
    four = gap.get(FOUR, {}).get(key)
    return f"{closed}, four close {_percent(four)}." if four else f"{closed}."


def meaning(metrics: Mapping[str, Any], difference: Mapping[str, float]) -> str:
    """What a difference of identity means, in a sentence; "" where true photos do not tell.

    Embeddings of all faces lie in a narrow cone, so a cosine alone says little: the difference is
    compared with how far two photos of one person are from two of different people.
    """
    same, others = (metrics["identity_scale"][key] for key in ("same_person", "strangers"))
    if same <= others:
        return ""
    share = {key: difference[key] / (same - others) for key in ("mean", "low", "high")}
    ends = f"true photos of two people ({others:.4f}) to two of one person ({same:.4f})"
    return f"In identity that is {_percent(share)} of the way from {ends}."


def _percent(interval: Mapping[str, float]) -> str:
    mean, low, high = (round(100 * interval[key]) for key in ("mean", "low", "high"))
    return f"{mean}% [{low}, {high}]"


def summary_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics of the short tables, as far as they were measured."""
    return [name for name in in_table("summary") if name in metrics]


def compared_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics that have paired differences."""
    rows = metrics["difference"].values()
    return [name for name in METRICS if any(name in row for row in rows)]


def _conditions(metrics: Mapping[str, Any]) -> Iterator[str]:
    names = summary_metrics(metrics)
    yield _line(metrics, "", [f"{METRICS[n].short_title} ({METRICS[n].direction})" for n in names])
    for key in metrics["psnr"]:
        cells = [cell(metrics[n][key], METRICS[n].digits) for n in names]
        yield _line(metrics, CONDITIONS[key].title, cells)


def _differences(metrics: Mapping[str, Any]) -> Iterator[str]:
    names = compared_metrics(metrics)
    yield _line(metrics, "right reference minus", [METRICS[n].short_title for n in names])
    for name, row in metrics["difference"].items():
        cells = [cell(row[n], METRICS[n].digits, "+") for n in names]
        yield _line(metrics, CONDITIONS[DIFFERENCES[name]].title, cells)


def about(metrics: Mapping[str, Any]) -> str:
    """What was measured, in one line."""
    data = metrics["data"]
    what = "mean [95% interval over identities]"
    if "seeds" in data:
        what = f"{data['seeds']} seeds; mean [95% interval over identities and seeds] +/- deviation"
    return (
        "{identities} {people}, {images} images, {lr_size}x{lr_size} -> {hr_size}x{hr_size}; "
        "{what}".format(**data, people=people(metrics), what=what)
    )


def people(metrics: Mapping[str, Any]) -> str:
    """Whose numbers these are, in words."""
    of_test = metrics["data"].get("split", "test") == "test"
    return "held-out identities" if of_test else "validation identities"


def cell(interval: Mapping[str, float], digits: int, sign: str = "") -> str:
    """`mean [low, high]` with this many digits after the point, and that of seeds if there is."""
    mean, low, high = (
        format(interval[key], f"{sign}.{digits}f") for key in ("mean", "low", "high")
    )
    deviation = f" +/- {interval['deviation']:.{digits}f}" if "deviation" in interval else ""
    return f"{mean} [{low}, {high}]{deviation}"


def _line(metrics: Mapping[str, Any], name: str, cells: list[str]) -> str:
    width = COLUMN + (DEVIATION if "seeds" in metrics["data"] else 0)
    return name.ljust(FIRST) + "".join(text.ljust(width) for text in cells)
