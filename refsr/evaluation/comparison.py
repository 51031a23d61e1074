"""Two models on the same held-out images, with the same references: what B changes over A."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refsr.evaluation.metrics import METRICS, in_table
from refsr.evaluation.protocol import Bench, measure
from refsr.evaluation.statistics import bootstrap, compare, per_person

NAMES = ("A", "B")
GAIN = "gain"  # right minus wrong reference
KINDS = {
    "right": "right reference",
    "none": "no reference",
    "wrong": "wrong reference",
}
TITLES = KINDS | {GAIN: "right minus wrong"}
SAME = "same"
_PHRASES = {  # by verdict
    "A": "A is better in {}",
    "B": "B is better in {}",
    "": "in {} no difference is shown, the interval holds zero",
    SAME: "in {} they differ by less than the digits shown",
}


def conditions() -> list[str]:
    """The conditions of both models, in the order in which their pictures stand side by side."""
    return [f"{name}_{kind}" for kind in KINDS for name in NAMES]


def metrics() -> list[str]:
    """The metrics that are compared, in their order."""
    return [name for name in in_table("summary") if METRICS[name].every_condition]


def measured(bench: Bench, batch_size: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row per image and condition, and the identity scale of the true images."""
    result = measure(bench, batch_size, conditions())
    return result.table, bench.identity_scale(result.identity["hr"])


def differences(table: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """(reference, metric) -> B minus A of each person; GAIN is that of right minus wrong."""
    pairs: dict[tuple[str, str], pd.Series] = {}
    for metric in metrics():
        people = per_person(table, metric, conditions())
        for kind in KINDS:
            pairs[kind, metric] = people[f"B_{kind}"] - people[f"A_{kind}"]
        pairs[GAIN, metric] = pairs["right", metric] - pairs["wrong", metric]
    return pairs


def summary(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{means: {metric: {condition: interval}}, difference, tests}; see `statistics.compare`."""
    pairs = {key: values.to_numpy() for key, values in differences(table).items()}
    means: dict[str, Any] = {}
    for metric in metrics():
        people = per_person(table, metric, conditions())
        means[metric] = {
            name: bootstrap(people[name].to_numpy(), resamples, seed) for name in people
        }
    return {"means": means, **compare(pairs, resamples, seed)}


def verdict(difference: Mapping[str, float], metric: str) -> str:
    """Which model is better by an interval of B minus A: "A" or "B".

    "" where the interval holds zero, SAME where it does not, but nothing of it is seen in the
    digits of the metric.
    """
    low, high = difference["low"], difference["high"]
    if low <= 0 <= high or not np.isfinite([low, high]).all():
        return ""
    if max(abs(low), abs(high)) < 0.5 * 10.0 ** -METRICS[metric].digits:
        return SAME
    return "B" if (low > 0) == METRICS[metric].higher_is_better else "A"


def sentence(result: Mapping[str, Any], kind: str) -> str:
    """What a comparison shows with one kind of reference, in words."""
    groups: dict[str, list[str]] = {}
    for metric, interval in result["difference"][kind].items():
        groups.setdefault(verdict(interval, metric), []).append(METRICS[metric].short_title)
    parts = [_PHRASES[key].format(_joined(groups[key])) for key in _PHRASES if key in groups]
    return f"{TITLES[kind].capitalize()}: {'; '.join(parts)}."


def _joined(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
