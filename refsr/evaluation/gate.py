"""The quality gate: the thresholds to reach before a model is registered or promoted.

Every threshold of refsr.config.Gate is named `<metric>_over_<other>`. Against a condition of the
same evaluation, the lower end of the 95% interval of the paired difference is compared; `gap` is
the share of the gap in identity that this difference closes. Differences are gains: of a metric
that is better when lower, the sign is turned.

Against champions the difference of means is compared, on the same test images. It is that to the
best of all champions, so that many small losses do not add up, and it may not be larger than the
present champion's own interval, whatever the threshold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from refsr.config import Gate
from refsr.errors import RefsrError
from refsr.evaluation.conditions import RIGHT
from refsr.evaluation.gap import OVER_WRONG
from refsr.evaluation.metrics import METRICS

GAPS = {"none": RIGHT, "wrong": OVER_WRONG}  # -> the share of refsr.evaluation.gap
_OF = "identity"


@dataclass(frozen=True)
class Check:
    """One threshold and the value it is compared with."""

    name: str
    value: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the value reaches the threshold; what is no finite number does not."""
        return math.isfinite(self.value) and self.value >= self.threshold

    def __str__(self) -> str:
        metric, other = self.name.split("_over_")
        kind = "lower end of the 95% interval"
        if other == "champion":
            kind = "difference of means, to the best champion's"
        unit = METRICS[metric].unit if metric in METRICS else "of the gap in identity"
        value = f"{self.name}: {self.value:+.4f} {unit} ({kind})"
        threshold = f"the threshold, {self.threshold:+.4f}"
        if self.passed:
            return f"{value} reaches {threshold}: passed"
        return f"{value} is {self.threshold - self.value:.4f} below {threshold}"


@dataclass(frozen=True)
class Verdict:
    """The result of the gate. `champion` says which model was compared with, or why none was."""

    checks: tuple[Check, ...]
    champion: str

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[str]:
        """A sentence for each threshold that was missed."""
        return [str(check) for check in self.checks if not check.passed]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: passed, champion, and name, value, threshold and passed of each check."""
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {"passed": self.passed, "champion": self.champion, "checks": checks}


def check_gate(
    metrics: Mapping[str, Any],
    thresholds: Gate,
    champions: Sequence[Mapping[str, Any]] = (),
    champion_note: str = "none yet",
) -> Verdict:
    """Compare the metrics of one evaluation with the thresholds.

    Args:
        metrics: Of the evaluation, as metrics.json has them.
        thresholds: The section `register.gate` of the parameters.
        champions: The metrics of the champion and of those before it, where they are comparable.
        champion_note: Which model the champion is, or why none was compared with.

    Returns:
        Every check, passed or not. The share of the gap is not checked where there is no gap.

    Raises:
        RefsrError: The evaluation lacks a number the gate needs.
    """
    checks = []
    for name, threshold in thresholds.model_dump().items():
        metric, other = name.split("_over_")
        if other == "champion":
            checks += [_over_champions(name, threshold, metrics, champions)] if champions else []
        elif metric != "gap":
            checks.append(Check(name, _improvement(metrics, metric, other), threshold))
        elif _has_gap(metrics, other):
            checks.append(Check(name, _number(metrics, "gap", GAPS[other], _OF, "low"), threshold))
    return Verdict(tuple(checks), champion_note)


def _has_gap(metrics: Mapping[str, Any], other: str) -> bool:
    """Whether true photos are better than no reference, so that there is a gap to close."""
    _number(metrics, "gap", GAPS[other], "images")
    return _OF in metrics["gap"][GAPS[other]]


def _improvement(metrics: Mapping[str, Any], metric: str, other: str) -> float:
    """The end of the interval that is worse for the model, as a gain."""
    path = ("difference", f"right_minus_{other}", metric)
    if METRICS[metric].higher_is_better:
        return _number(metrics, *path, "low")
    return -_number(metrics, *path, "high")


def _over_champions(
    name: str,
    threshold: float,
    metrics: Mapping[str, Any],
    champions: Sequence[Mapping[str, Any]],
) -> Check:
    metric = name.split("_over_")[0]
    higher = METRICS[metric].higher_is_better
    sign = 1 if higher else -1

    def level(of: Mapping[str, Any], end: str = "mean") -> float:
        return sign * _number(of, metric, RIGHT, end)

    best = max(map(level, champions))
    own = level(champions[0], "low" if higher else "high")
    return Check(name, level(metrics) - best, max(threshold, own - best))


def _number(metrics: Mapping[str, Any], *path: str) -> float:
    value: Any = metrics
    try:
        for key in path:
            value = value[key]
        return float(value)
    except (KeyError, TypeError, ValueError) as error:
        raise RefsrError(
            f"the evaluation has no number {'.'.join(path)}, which the gate needs; evaluate anew"
        ) from error
