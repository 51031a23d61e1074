"""The quality gate: what an evaluation must show before a model is registered, and again before it is promoted.

Every threshold of refsr.config.Gate is named `<measure>_over_<other>`. Against the arms of the same evaluation it is
the lower end of the 95% interval of the paired difference that counts; against the champion, the plain difference of
the two means, which is fair only if both were measured on the same test images.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from refsr.config import Gate
from refsr.errors import RefsrError

UNITS = {"psnr": "dB", "identity": "cosine"}


@dataclass(frozen=True)
class Check:
    """One threshold and the value it was held against."""

    name: str
    value: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the value reaches the threshold; what is not a number does not."""
        return self.value >= self.threshold

    def __str__(self) -> str:
        measure, other = self.name.split("_over_")
        kind = "difference of means" if other == "champion" else "lower end of the 95% interval"
        told = f"{self.name}: {self.value:+.4f} {UNITS[measure]} ({kind})"
        if self.passed:
            return f"{told}, at least {self.threshold:+.4f} wanted: passed"
        return f"{told} is {self.threshold - self.value:.4f} below the least wanted, {self.threshold:+.4f}"


@dataclass(frozen=True)
class Verdict:
    """What the gate found. `champion` says which model was compared with, or why none was."""

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


def judge(
    metrics: Mapping[str, Any],
    thresholds: Gate,
    champion: Mapping[str, Any] | None = None,
    champion_note: str = "none yet",
) -> Verdict:
    """Hold the metrics of one evaluation against the thresholds, and against the champion's metrics where given.

    Raises RefsrError where the evaluation lacks a number the gate needs.
    """
    checks = []
    for name, threshold in thresholds.model_dump().items():
        measure, other = name.split("_over_")
        if other != "champion":
            value = _number(metrics, "difference", f"right_minus_{other}", measure, "low")
        elif champion is not None:
            path = (measure, "ref_right", "mean")
            value = _number(metrics, *path) - _number(champion, *path)
        else:
            continue
        checks.append(Check(name, value, threshold))
    return Verdict(tuple(checks), champion_note)


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
