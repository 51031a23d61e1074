"""From a row per image to means with intervals; the sample is of identities, not of images."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from refsr.evaluation.conditions import DIFFERENCES, MAIN, RIGHT
from refsr.evaluation.metrics import METRICS

FLIPS = 10_000  # sign flips drawn, where there are more than can be tried
ALL_FLIPS = 13  # identities up to which all 2^n are tried


def compared(table: pd.DataFrame) -> list[str]:
    """The metrics of a table whose differences are taken and tested."""
    return [name for name in main_metrics(table) if METRICS[name].compared]


def main_conditions(table: pd.DataFrame) -> list[str]:
    """The main conditions that were measured, in their order."""
    measured = set(table["arm"])
    return [name for name in MAIN if name in measured]


def main_metrics(table: pd.DataFrame) -> list[str]:
    """The metrics that were measured, in their order."""
    return [name for name in METRICS if name in table.columns]


def per_person(
    table: pd.DataFrame, metric: str, conditions: Sequence[str] | None = None
) -> pd.DataFrame:
    """The mean over each person's images: a row per person, a column per condition.

    `conditions` are the main ones, unless others are given.
    """
    names = list(conditions or main_conditions(table))
    chosen = table[table["arm"].isin(names)]
    means = chosen.pivot_table(index="person", columns="arm", values=metric, aggfunc="mean")
    return means[names]


def bootstrap(values: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """{mean, low, high}: the mean of (I,) values and its 95% percentile bootstrap interval.

    Efron, 1979.
    """
    chosen = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[chosen].mean(1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def sign_flip(differences: np.ndarray, seed: int, flips: int = FLIPS) -> float:
    """The two-sided p-value of paired differences (I,) having mean 0, by flipping their signs.

    Up to ALL_FLIPS identities all 2^I sign patterns are tried, and the test is exact. Beyond,
    `flips` are drawn, and the observed one counts among them: p is at least 1 / (flips + 1).
    """
    count = len(differences)
    if count <= ALL_FLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=count)))
    else:
        signs = np.random.default_rng(seed).integers(0, 2, (flips, count)) * 2.0 - 1
    observed = abs(differences.mean())
    as_large = int((np.abs(signs @ differences) / count >= observed - 1e-12).sum())
    return as_large / len(signs) if count <= ALL_FLIPS else (as_large + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979) of one family of tests, in the order given."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    result = np.empty(len(p_values))
    result[order] = adjusted
    return [float(p) for p in result]


def summarise(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{metric: {condition: {mean, low, high}}} of the main conditions, and their differences.

    "difference" and "tests" hold the paired differences, and {p, p_holm} of each difference and
    metric; all of them are one family.
    """
    people = {metric: per_person(table, metric) for metric in main_metrics(table)}
    summary: dict[str, Any] = {
        metric: {name: bootstrap(values[name].to_numpy(), resamples, seed) for name in values}
        for metric, values in people.items()
    }
    pairs = {
        (name, metric): (people[metric][RIGHT] - people[metric][other]).to_numpy()
        for name, other in DIFFERENCES.items()
        if other in people["psnr"]
        for metric in compared(table)
    }
    return summary | compare(pairs, resamples, seed)


def other_conditions(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """The conditions beside the main ones, as metrics.json holds them.

    {"other_arms": {condition: {images, people, metric: interval}}}, and "other_difference" and
    "other_tests": that condition minus RefSR with the right reference, on the images it has.
    """
    right = table[table["arm"] == RIGHT].set_index("source")
    cheap = [name for name, metric in METRICS.items() if metric.every_condition]
    numbers: dict[str, Any] = {}
    pairs: dict[tuple[str, str], np.ndarray] = {}
    for key, rows in table[~table["arm"].isin(MAIN)].groupby("arm", sort=False):
        name, means = str(key), rows.groupby("person")[cheap].mean()
        numbers[name] = {"images": len(rows), "people": len(means)}
        for metric in cheap:
            numbers[name][metric] = bootstrap(means[metric].to_numpy(), resamples, seed)
        same = right.loc[rows["source"]].groupby("person")[compared(table)].mean()
        for metric in compared(table):
            pairs[name, metric] = (means[metric] - same[metric]).to_numpy()
    if not numbers:
        return {}
    result = compare(pairs, resamples, seed)
    return {
        "other_arms": numbers,
        "other_difference": result["difference"],
        "other_tests": result["tests"],
    }


def compare(
    pairs: Mapping[tuple[str, str], np.ndarray],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Intervals and tests of one family of paired differences, by (name, metric).

    {"difference": {name: {metric: interval}}, "tests": {name: {metric: {p, p_holm}}}}.
    """
    p_values = [sign_flip(values, seed) for values in pairs.values()]
    rows = zip(pairs.items(), p_values, holm(p_values), strict=True)
    difference: dict[str, Any] = {}
    tests: dict[str, Any] = {}
    for ((name, metric), values), p, adjusted in rows:
        interval = bootstrap(values, resamples, seed)
        difference.setdefault(name, {})[metric] = interval
        tests.setdefault(name, {})[metric] = {"p": p, "p_holm": adjusted}
    return {"difference": difference, "tests": tests}


def break_even(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """The share of wrong references at which a reference is no better than none, by metric.

    With a share w of wrong references the mean is (1 - w) right + w wrong; it meets that without a
    reference at (right - none) / (right - wrong). 0 where even the right one does not help, 1 where
    even a wrong one does not hurt. A metric that is better when lower is negated.
    """
    shares = {}
    for metric in compared(table):
        people = per_person(table, metric)
        draw = np.random.default_rng(seed).integers(0, len(people), (resamples, len(people)))
        values = people[[RIGHT, "ref_none", "ref_wrong"]].to_numpy()
        if not METRICS[metric].higher_is_better:
            values = -values
        drawn = _break_even(values[draw].mean(1))
        low, high = np.percentile(drawn, [2.5, 97.5])
        mean = _break_even(values.mean(0)[None])[0]
        shares[metric] = {"mean": float(mean), "low": float(low), "high": float(high)}
    return shares


def _break_even(means: np.ndarray) -> np.ndarray:
    """(R, 3) means with the right, no and a wrong reference -> (R,) shares in [0, 1]."""
    right, none, wrong = means.T
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(none <= wrong, 1.0, (right - none) / (right - wrong))
    return np.where(right <= none, 0.0, share)


def gains(table: pd.DataFrame) -> pd.Series:
    """What the right reference adds to each person's identity over a wrong one, least first."""
    people = per_person(table, "identity")
    return (people[RIGHT] - people["ref_wrong"]).sort_values(kind="stable")


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of metrics.json under dotted names: {"a": {"b": 1}} -> {"a.b": 1.0}."""
    flat: dict[str, float] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, str):
            flat[f"{prefix}{key}"] = float(value)
    return flat
