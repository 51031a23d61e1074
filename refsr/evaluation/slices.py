"""The same numbers for groups of the test set, and the gap between groups with its interval."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from refsr.dataset.curated import Curated
from refsr.evaluation.conditions import RIGHT
from refsr.evaluation.statistics import compared

FEWEST = 3  # people in a group; smaller groups are left out
YAW = {  # degrees
    "under 15": (0.0, 15.0),
    "15 to 30": (15.0, 30.0),
    "30 and more": (30.0, 181.0),
}
THIRDS = ("lowest third", "middle third", "highest third")


def groups(curated: Curated, test: pd.DataFrame) -> pd.DataFrame:
    """A column per slice, a label per held-out image of `test`; "" where the metadata say nothing.

    Slices in the order of SLICES, as far as the manifest has their columns; `ita` is measured.
    """
    facts = curated.table.iloc[test["row"]].reset_index(drop=True)
    labels: dict[str, Any] = {}
    for name, each in SLICES.items():
        if not each.column:
            labels[name] = _ita(curated, test)
        elif each.column in facts:
            labels[name] = each.labels(facts[each.column])
    return pd.DataFrame(labels)


def _sex(values: pd.Series) -> pd.Series:
    return values.map({"f": "female", "m": "male"}).fillna("").astype(str)


def _pose(values: pd.Series) -> np.ndarray:
    turned = values.abs()
    return np.select([turned.between(a, b, "left") for a, b in YAW.values()], list(YAW), "")


def _numbers(values: pd.Series) -> np.ndarray:
    return _thirds(values.to_numpy(float))


def _texts(values: pd.Series) -> pd.Series:
    return values.fillna("").astype(str).map(_plain)


def _ita(curated: Curated, test: pd.DataFrame) -> np.ndarray:
    pictures = curated.pixels(test["right"].to_numpy())
    return _thirds(np.array([ita(picture) for picture in pictures]))


class Slice(NamedTuple):
    """A way to split the test set: its title, the column of the manifest, and column -> labels."""

    title: str
    column: str  # "" for what is measured on the reference
    labels: Callable[[pd.Series], Any]


SLICES = {
    "sex": Slice("sex, as given in the raw set", "sex", _sex),
    "pose": Slice("pose of the image, |yaw| in degrees", "yaw", _pose),
    "sharpness": Slice("sharpness of the HR image", "sharpness", _numbers),
    "skin_tone": Slice("skin tone, as given in the metadata", "skin_tone", _texts),
    "ita": Slice(
        "ITA of the reference crop, a pixel measure "
        "(light and make-up move it; it is not skin tone)",
        "",
        _numbers,
    ),
}


def ita(picture: np.ndarray) -> float:
    """Individual typology angle (Chardon et al., 1991), degrees, of the middle of a face crop.

    Of the median colour there. (H, H, 3) uint8 RGB; the middle is half the side. atan2(L* - 50,
    b*): higher is lighter.
    """
    size = len(picture)
    inner = slice(size // 4, -(size // 4))
    middle = np.ascontiguousarray(picture[inner, inner]).astype(np.float32) / 255
    lab = cv2.cvtColor(middle, cv2.COLOR_RGB2Lab)
    lightness, _, yellow = np.median(lab.reshape(-1, 3), axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def by_slice(
    table: pd.DataFrame,
    labels: pd.DataFrame,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The metrics that are compared, and the gain in identity, of each group of each slice.

    Identities are drawn once for all groups, since a person may have images in several.

    Args:
        table: The row per image and condition.
        labels: A row per image of the condition RIGHT, in its order.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        {slice: {group: {people, images, metric: interval, gain}, "gap": {"between", ...}}}. `gain`
        is identity minus that of a wrong reference; the gap is the last group minus the first. Its
        interval is corrected for all gaps together (Bonferroni), so that the chance that any of
        them lies outside its own is at most 5%.
    """
    right, wrong = (
        table[table["arm"] == name].set_index("source") for name in (RIGHT, "ref_wrong")
    )
    gain = right["identity"] - wrong["identity"]
    values = right[["person", *compared(table)]].assign(gain=gain)
    sliced = {}
    for name in labels:
        rows = values.assign(group=labels[name].to_numpy()).query("group != ''")
        rows = rows[rows.groupby("group")["person"].transform("nunique") >= FEWEST]
        if rows["group"].nunique() > 1:
            sliced[str(name)] = rows
    looks = len(sliced) * (values.shape[1] - 1)
    return {name: _slice(rows, resamples, seed, looks) for name, rows in sliced.items()}


def _slice(rows: pd.DataFrame, resamples: int, seed: int, looks: int) -> dict[str, Any]:
    names = set(rows["group"])
    order = [name for name in (*YAW, *THIRDS) if name in names] or sorted(names)
    counts = rows.groupby("group").agg(people=("person", "nunique"), images=("person", "size"))
    numbers: dict[str, Any] = {
        str(name): {str(key): count for key, count in row.items()}
        for name, row in counts.loc[order].to_dict("index").items()
    }
    numbers["gap"] = {"between": f"{order[-1]} minus {order[0]}"}
    metrics = [name for name in rows.columns if name not in ("person", "group")]
    for metric in metrics:
        whole, drawn = _drawn_means(rows, metric, order, resamples, seed)
        for place, name in enumerate(order):
            numbers[name][metric] = _interval(whole[place], drawn[:, place])
        gaps = drawn[:, -1] - drawn[:, 0]
        numbers["gap"][metric] = _interval(whole[-1] - whole[0], gaps, looks)
    return numbers


def _drawn_means(
    rows: pd.DataFrame,
    metric: str,
    order: list[str],
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The means of groups, (G,), and those of `resamples` draws of people, (R, G)."""
    means = rows.pivot_table(index="person", columns="group", values=metric, aggfunc="mean")
    people = means[order].to_numpy()
    draw = np.random.default_rng(seed).integers(0, len(people), (resamples, len(people)))
    with np.errstate(invalid="ignore"):  # a draw may hold nobody of a group
        drawn = np.nansum(people[draw], 1) / np.isfinite(people[draw]).sum(1)
    return np.nanmean(people, axis=0), drawn


def _interval(mean: float, drawn: np.ndarray, looks: int = 1) -> dict[str, float]:
    tail = 2.5 / looks
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def _thirds(values: np.ndarray) -> np.ndarray:
    """Which third of the finite values each belongs to; "" for the others."""
    finite = np.isfinite(values)
    edges = np.quantile(values[finite], [1 / 3, 2 / 3]) if finite.any() else [0.0, 0.0]
    third = np.searchsorted(edges, np.nan_to_num(values))
    labels: np.ndarray = np.where(finite, np.array(THIRDS)[third], "")
    return labels


def _plain(label: str) -> str:
    """A label as the tracking store takes it in a metric's name."""
    return re.sub(r"[^\w -]", "_", label)
