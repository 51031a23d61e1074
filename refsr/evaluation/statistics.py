"""From a row per image to means with intervals: identities are the sample, images only repeat them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

ARMS = ("bicubic", "sisr", "ref_none", "ref_wrong", "ref_right")  # refsr.evaluation.protocol says what they are
METRICS = ("psnr", "ssim", "identity", "perceptual", "psnr_y", "ssim_y")
DIFFERENCES = {
    "right_minus_wrong": "ref_wrong",
    "right_minus_none": "ref_none",
    "right_minus_sisr": "sisr",
    "right_minus_bicubic": "bicubic",
}
COMPARED = ("psnr", "identity")


def per_person(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The mean over each person's images: a row per person, a column per arm."""
    return table.pivot_table(index="person", columns="arm", values=metric, aggfunc="mean")[list(ARMS)]


def bootstrap(values: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """{mean, low, high}: the mean of (I,) values, and its 95% percentile bootstrap interval (Efron, 1979)."""
    chosen = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[chosen].mean(1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def summarise(table: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{metric: {arm: {mean, low, high}}} and, under "difference", the paired differences of COMPARED."""
    people = {metric: per_person(table, metric) for metric in METRICS}
    summary: dict[str, Any] = {
        metric: {arm: bootstrap(values[arm].to_numpy(), resamples, seed) for arm in ARMS}
        for metric, values in people.items()
    }
    summary["difference"] = {
        name: {
            metric: bootstrap((people[metric]["ref_right"] - people[metric][other]).to_numpy(), resamples, seed)
            for metric in COMPARED
        }
        for name, other in DIFFERENCES.items()
    }
    return summary


def gains(table: pd.DataFrame) -> pd.Series:
    """What the right reference adds to each person's identity similarity over a wrong one, from least to most."""
    people = per_person(table, "identity")
    return (people["ref_right"] - people["ref_wrong"]).sort_values(kind="stable")


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """{"a": {"b": 1}} -> {"a.b": 1.0}."""
    flat: dict[str, float] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": float(value)}
    return flat
