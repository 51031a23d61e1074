"""How well the model rates references, and what a wrong one costs that the rating does not tell."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from refsr.dataset.degradation import reduce
from refsr.evaluation.batches import batches
from refsr.evaluation.protocol import Bench
from refsr.evaluation.recognition import share_below
from refsr.evaluation.statistics import bootstrap
from refsr.models.compatibility import FITS, score
from refsr.progress import track

BINS = 5  # of the reliability table, equally wide
RATED = {  # column of the pairs -> the condition that restores with it
    "right": "ref_right",
    "wrong": "ref_wrong",
    "nearest": "ref_nearest",
}
NONE = "ref_none"
COSTS = ("psnr", "identity")


def compatibility(
    rated: pd.DataFrame, table: pd.DataFrame, resamples: int, seed: int
) -> dict[str, Any]:
    """The compatibility score of RefSR on the images of a bench.

    Args:
        rated: The row per image that `ratings` gave.
        table: The row per image and condition that `measure` gave.
        resamples: Of the bootstrap over people.
        seed: Of the bootstrap.

    Returns:
        {references: {right, wrong, nearest: {fits, auc, all, fitting, misfitting}}, calibration}.
        `fits` is the share rated FITS or more, `auc` that of right against these. The others are
        {images, people, psnr, identity}: the output with this reference minus that with none, of
        all images and of those whose reference the model takes for a fitting one or not. Empty
        where the model does not rate references.
    """
    if rated.empty:
        return {}
    references = {
        name: _separation(rated, name, resamples, seed)
        | _effects(rated, name, table, resamples, seed)
        for name in RATED
    }
    scores = np.concatenate([rated["right"], rated["wrong"]])
    right = np.arange(len(scores)) < len(rated)
    return {"references": references, "calibration": reliability(scores, right)}


def confusion(rated: pd.DataFrame) -> dict[str, Any]:
    """{categories, matrix}: right and wrong references (rows) by what they are rated (columns)."""
    fits = {name: int((rated[name] >= FITS).sum()) for name in ("right", "wrong")}
    matrix = [[count, len(rated) - count] for count in fits.values()]
    return {"categories": list(fits), "matrix": matrix}


def ratings(bench: Bench, batch_size: int) -> pd.DataFrame:
    """The score of each reference in RATED: a row per image, with its `person` and `source`.

    No row where the model does not rate references.
    """
    network: Any = bench.models.refsr
    rated = []
    parts = batches(bench.test, batch_size)
    for batch in track(parts, total=len(parts), desc="rated", unit="batch"):
        lr = reduce(bench.images(batch["row"].to_numpy()), bench.models.scale)
        refs = torch.stack([bench.images(batch[name].to_numpy()) for name in RATED], 1)
        scores = score(network, lr, refs)
        if scores is None:
            break
        columns = dict(zip(RATED, scores.T.cpu().numpy(), strict=True))
        rated.append(
            pd.DataFrame(columns | {key: batch[key].array for key in ("person", "source")})
        )
    return pd.concat(rated, ignore_index=True) if rated else pd.DataFrame()


def _separation(rated: pd.DataFrame, name: str, resamples: int, seed: int) -> dict[str, Any]:
    values = pd.DataFrame({"fits": (rated[name] >= FITS).astype(float)})
    if name != "right":
        values["auc"] = share_below(np.sort(rated[name]), rated["right"].to_numpy())
    people = values.groupby(rated["person"].to_numpy()).mean()
    return {str(key): bootstrap(people[key].to_numpy(), resamples, seed) for key in people}


def _effects(
    rated: pd.DataFrame, name: str, table: pd.DataFrame, resamples: int, seed: int
) -> dict[str, Any]:
    """The gain over no reference: of all images, and of those rated as fitting and as not."""
    with_it, without = (
        table[table["arm"] == condition].set_index("source") for condition in (RATED[name], NONE)
    )
    gain = with_it[[*COSTS]] - without[[*COSTS]].loc[with_it.index]
    fits = (rated.set_index("source")[name] >= FITS).loc[gain.index]
    groups = {"all": gain, "fitting": gain[fits], "misfitting": gain[~fits]}
    effects: dict[str, Any] = {}
    for key, rows in groups.items():
        people = rows.groupby(with_it["person"].loc[rows.index]).mean()
        effects[key] = {"images": len(rows), "people": len(people)}
        for measure in COSTS if len(rows) else ():
            effects[key][measure] = bootstrap(people[measure].to_numpy(), resamples, seed)
    return effects


def reliability(scores: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Whether a score is the share of right ones among those that have it.

    `scores` (N,) in [0, 1], `right` (N,) bool. {error, bin_1 ...: {pairs, score, right}}; the
    error is the mean of |score - share| over pairs, bin by bin (expected calibration error).
    """
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    result: dict[str, Any] = {"error": 0.0}
    for number in range(BINS):
        chosen = place == number
        row = result[f"bin_{number + 1}"] = {"pairs": int(chosen.sum())}
        if chosen.any():
            row |= {"score": float(scores[chosen].mean()), "right": float(right[chosen].mean())}
            result["error"] += abs(row["score"] - row["right"]) * float(chosen.mean())
    return result
