"""The share of the gap between no reference and true photos that references close.

0 is the model without a reference, 1 another true photo of the person in place of the output.
"""

from typing import Any

import numpy as np
import pandas as pd

from refsr.evaluation.conditions import RIGHT

NONE, WRONG, FOUR = "ref_none", "ref_wrong", "refs_4"
OVER_WRONG = "right_minus_wrong"  # what is the person's, and not any reference's
# name in metrics.json -> the condition, and the one that is subtracted from it
SHARES = {
    RIGHT: (RIGHT, NONE),
    FOUR: (FOUR, NONE),
    WRONG: (WRONG, NONE),
    OVER_WRONG: (RIGHT, WRONG),
}
MEASURES = ("identity", "tar")
UNDEFINED = 0.025  # share of draws without a gap from which on there is no interval


def gap_closed(
    table: pd.DataFrame, true: pd.Series, threshold: float, resamples: int, seed: int
) -> dict[str, Any]:
    """(with - without) / (true photos - without), of means over people.

    Of identity, which is the cosine to the true image, and of the true accept rate against the
    right reference. Without is RefSR without a reference, on the same images.

    Args:
        table: The row per image and condition.
        true: By source, the cosine of the true image and the right reference.
        threshold: The cosine above which a pair is accepted.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        {share of SHARES: {images, people, measure: {mean, low, high}}}, and "levels": {measure:
        {without, with, true}} with one right reference. A measure is absent where true photos are
        no better than the output without a reference, so that there is no gap.
    """
    rows = table.assign(tar=(table["identity_ref"] > threshold).astype(float))
    by_condition = {str(name): each.set_index("source") for name, each in rows.groupby("arm")}
    photos = pd.DataFrame({"identity": true, "tar": (true > threshold).astype(float)})
    result: dict[str, Any] = {}
    for key, (name, less) in SHARES.items():
        if name not in by_condition:
            continue
        given, images = by_condition[name], by_condition[name].index
        parts = (given, by_condition[less].loc[images], by_condition[NONE].loc[images])
        counts = {"images": len(given), "people": given["person"].nunique()}
        result[key] = counts
        for measure in MEASURES:
            columns = [*(part[measure] for part in parts), photos.loc[images, measure]]
            people = pd.concat(columns, axis=1).groupby(given["person"]).mean().to_numpy()
            if share := _share(people, resamples, seed):
                result[key][measure] = share
            if key == RIGHT:
                result.setdefault("levels", {})[measure] = _levels(people)
    return result


def _levels(people: np.ndarray) -> dict[str, float]:
    given, _, without, true = people.mean(0).tolist()
    return {"without": without, "with": given, "true": true}


def _share(people: np.ndarray, resamples: int, seed: int) -> dict[str, float] | None:
    """The share of (P, 4) means with, less, without and of true photos; None without a gap."""
    draw = np.random.default_rng(seed).integers(0, len(people), (resamples, len(people)))
    drawn = _ratio(people[draw].mean(1))
    (mean,) = _ratio(people.mean(0)[None]).tolist()
    if np.isnan(mean) or np.isnan(drawn).mean() > UNDEFINED:
        return None
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"mean": mean, "low": float(low), "high": float(high)}


def _ratio(means: np.ndarray) -> np.ndarray:
    """(R, 4) -> (R,), NaN where true photos are no better."""
    given, less, without, true = means.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(true > without, (given - less) / (true - without), np.nan))
