"""The same numbers for parts of the test set: whom does it serve less well, and is the gap more than chance?"""

import re
from typing import Any

import cv2
import numpy as np
import pandas as pd

from refsr.dataset.curated import Curated

FEWEST = 3  # people in a group; fewer say nothing
YAW = {"under 15": (0.0, 15.0), "15 to 30": (15.0, 30.0), "30 and more": (30.0, 181.0)}  # degrees
THIRDS = ("lowest third", "middle third", "highest third")
TITLES = {
    "sex": "sex, as the raw set tells it",
    "pose": "pose of the image, |yaw| in degrees",
    "sharpness": "sharpness of the HR image",
    "skin_tone": "skin tone, as the metadata tell it",
    "ita": "ITA of the reference crop, a pixel measure (light and make-up move it; it is not skin tone)",
}


def groups(curated: Curated, test: pd.DataFrame) -> pd.DataFrame:
    """A column per slice, a label per held-out image of `test`; "" where the metadata say nothing.

    Slices in the order of TITLES, as far as the manifest has their columns; `ita` is measured.
    """
    facts = curated.table.iloc[test["row"]].reset_index(drop=True)
    found: dict[str, Any] = {}
    if "sex" in facts:
        found["sex"] = facts["sex"].map({"f": "female", "m": "male"}).fillna("").astype(str)
    if "yaw" in facts:
        turned = facts["yaw"].abs()
        found["pose"] = np.select([turned.between(a, b, "left") for a, b in YAW.values()], list(YAW), "")
    if "sharpness" in facts:
        found["sharpness"] = _thirds(facts["sharpness"].to_numpy(float))
    if "skin_tone" in facts:
        found["skin_tone"] = facts["skin_tone"].fillna("").astype(str).map(_plain)
    found["ita"] = _thirds(np.array([ita(picture) for picture in curated.pixels(test["right"].to_numpy())]))
    return pd.DataFrame(found)


def ita(picture: np.ndarray) -> float:
    """Individual typology angle (Chardon et al., 1991) in degrees, of the median colour of a face crop's middle.

    (H, H, 3) uint8 RGB; the middle is half the side. atan2(L* - 50, b*): higher is lighter.
    """
    size = len(picture)
    middle = np.ascontiguousarray(picture[size // 4 : -(size // 4), size // 4 : -(size // 4)]).astype(np.float32) / 255
    lightness, _, yellow = np.median(cv2.cvtColor(middle, cv2.COLOR_RGB2Lab).reshape(-1, 3), axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def by_slice(table: pd.DataFrame, labels: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{slice: {group: {people, images, psnr, identity, gain}, "gap": {"between", psnr, identity, gain}}}.

    `table` is the row per image and arm, `labels` a row per image of the arm `ref_right`, in its order. `psnr` and
    `identity` are those of the right reference; `gain` is its identity minus that of a wrong one. The gap is the last
    group minus the first. Identities are drawn once for all groups, since a person may have images in several.
    """
    right, wrong = (table[table["arm"] == arm].set_index("source") for arm in ("ref_right", "ref_wrong"))
    values = right[["person", "psnr", "identity"]].assign(gain=right["identity"] - wrong["identity"])
    found = {}
    for name in labels:
        rows = values.assign(group=labels[name].to_numpy()).query("group != ''")
        rows = rows[rows.groupby("group")["person"].transform("nunique") >= FEWEST]
        if rows["group"].nunique() > 1:
            found[str(name)] = _slice(rows, resamples, seed)
    return found


def _slice(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    order = [name for name in (*YAW, *THIRDS) if name in set(rows["group"])] or sorted(set(rows["group"]))
    counts = rows.groupby("group").agg(people=("person", "nunique"), images=("person", "size"))
    rows_of = counts.to_dict("index")
    found: dict[str, Any] = {name: {str(key): count for key, count in rows_of[name].items()} for name in order}
    found["gap"] = {"between": f"{order[-1]} minus {order[0]}"}
    for metric in ("psnr", "identity", "gain"):
        people = rows.pivot_table(index="person", columns="group", values=metric, aggfunc="mean")[order].to_numpy()
        draw = np.random.default_rng(seed).integers(0, len(people), (resamples, len(people)))
        with np.errstate(invalid="ignore"):  # a draw may hold nobody of a group
            means = np.nansum(people[draw], 1) / np.isfinite(people[draw]).sum(1)
        whole = np.nanmean(people, axis=0)
        for place, name in enumerate(order):
            found[name][metric] = _interval(whole[place], means[:, place])
        found["gap"][metric] = _interval(whole[-1] - whole[0], means[:, -1] - means[:, 0])
    return found


def _interval(mean: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def _thirds(values: np.ndarray) -> np.ndarray:
    """Which third of the finite values each belongs to; "" for the others."""
    finite = np.isfinite(values)
    edges = np.quantile(values[finite], [1 / 3, 2 / 3]) if finite.any() else [0.0, 0.0]
    labels: np.ndarray = np.where(finite, np.array(THIRDS)[np.searchsorted(edges, np.nan_to_num(values))], "")
    return labels


def _plain(label: str) -> str:
    """A label as the tracking store takes it in a metric's name."""
    return re.sub(r"[^\w -]", "_", label)
