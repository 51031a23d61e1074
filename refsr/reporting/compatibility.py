"""What an evaluation says of the compatibility score: its tables, and one sentence."""

from collections.abc import Iterator, Mapping
from typing import Any

from refsr.evaluation.compatibility import COSTS
from refsr.evaluation.metrics import METRICS
from refsr.models.compatibility import FITS
from refsr.reporting.notes import COMPATIBILITY, RELIABILITY
from refsr.reporting.summary import cell
from refsr.reporting.table import Table

_COLUMNS = [(measure, group) for measure in COSTS for group in ("all", "fitting")]


def compatibility_tables(metrics: Mapping[str, Any]) -> Iterator[Table]:
    """None where the model does not rate references."""
    if rated := metrics.get("compatibility"):
        yield _references(rated["references"])
        yield _reliability(rated["calibration"])


def _references(references: Mapping[str, Any]) -> Table:
    rows = [
        [
            name,
            cell(numbers["auc"], 3) if "auc" in numbers else "",
            cell(numbers["fits"], 2),
            *(_gain(numbers.get(group, {}), measure) for measure, group in _COLUMNS),
        ]
        for name, numbers in references.items()
    ]
    gains = [f"{METRICS[measure].title}, {group}" for measure, group in _COLUMNS]
    header = ["reference", "AUC", "rated as fitting", *gains]
    return Table("Does the reference fit", COMPATIBILITY.format(fits=FITS), header, rows)


def _gain(group: Mapping[str, Any], measure: str) -> str:
    return cell(group[measure], METRICS[measure].digits, "+") if measure in group else ""


def _reliability(calibration: Mapping[str, Any]) -> Table:
    bins = [row for key, row in calibration.items() if key != "error"]
    rows = [
        [
            f"{number / len(bins):.0%} to {(number + 1) / len(bins):.0%}",
            f"{row['pairs']:.0f}",
            *(f"{row[key]:.2f}" if key in row else "" for key in ("score", "right")),
        ]
        for number, row in enumerate(bins)
    ]
    note = RELIABILITY.format(**calibration)
    return Table("Calibration of the score", note, ["score", "pairs", "mean score", "right"], rows)
