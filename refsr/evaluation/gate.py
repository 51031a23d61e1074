"""The quality gate: the thresholds to reach before a model is registered or promoted.

Every threshold of refsr.config.Gate is named `<metric>_over_<other>`. Against a condition of the
same evaluation, the lower end of the 95% interval of the paired difference is compared; against the
champion, the difference of the two means, which is fair only on the same test images. Differences
are gains: of a metric that is better when lower, the sign is turned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from refsr.config import Gate
from refsr.errors import RefsrError
from refsr.evaluation.conditions import RIGHT
from refsr.evaluation.metrics import METRICS


@dataclass(frozen=True)
class Check:
    """One threshold and the value it is compared with."""

    name: str
    value: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the value reaches the threshold; what is not a number does not."""
        return self.value >= self.threshold

    def __str__(self) -> str:
        metric, other = self.name.split("_over_")
        champion = other == "champion"
        kind = "difference of means" if champion else "lower end of the 95% interval"
        value = f"{self.name}: {self.value:+.4f} {METRICS[metric].unit} ({kind})"
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
    champion: Mapping[str, Any] | None = None,
    champion_note: str = "none yet",
) -> Verdict:
    """Compare the metrics of one evaluation with the thresholds.

    Args:
        metrics: Of the evaluation, as metrics.json has them.
        thresholds: The section `register.gate` of the parameters.
        champion: The metrics of the champion, where they are comparable.
        champion_note: Which model the champion is, or why none was compared with.

    Returns:
        Every check, passed or not.

    Raises:
        RefsrError: The evaluation lacks a number the gate needs.
    """
    checks = []
    for name, threshold in thresholds.model_dump().items():
        metric, other = name.split("_over_")
        if other != "champion":
            value = _improvement(metrics, metric, other)
        elif champion is not None:
            value = _improvement_of_means(metrics, champion, metric)
        else:
            continue
        checks.append(Check(name, value, threshold))
    return Verdict(tuple(checks), champion_note)


def _improvement(metrics: Mapping[str, Any], metric: str, other: str) -> float:
    """The end of the interval that is worse for the model, as a gain."""
    path = ("difference", f"right_minus_{other}", metric)
    if METRICS[metric].higher_is_better:
        return _number(metrics, *path, "low")
    return -_number(metrics, *path, "high")


def _improvement_of_means(
    metrics: Mapping[str, Any],
    champion: Mapping[str, Any],
    metric: str,
) -> float:
    path = (metric, RIGHT, "mean")
    gain = _number(metrics, *path) - _number(champion, *path)
    return gain if METRICS[metric].higher_is_better else -gain


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
