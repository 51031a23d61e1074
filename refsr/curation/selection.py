"""Select among the usable images: identities of each split, their references, and other images.

An identity may have many more images than are asked for. Some are candidates, which are known as
soon as its features are extracted and before anything is filtered. Only crops of candidates are
kept, and only candidates are taken.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation.feature_columns import COLOUR
from refsr.curation.splits import validation_needed
from refsr.dataset.schema import HELD_OUT
from refsr.io.arrays import Rows
from refsr.layouts.base import BOX

# Degrees that a reference may be turned, if the identity has such an image; beyond is a side view.
NEAR_FRONTAL = 20.0
# The difference at which each term of `appearance` is 1.
_POSE = 60.0  # degrees between two heads
_FACES = 0.6  # between embeddings: dlib's limit for one person
_COLOUR = 0.5  # of the range of a channel, root mean square over the channels
_SCALE = 4.0  # ratio of the faces' sizes
_SPARE = 2  # candidates per image asked for, since some are copies or wrong persons
_ROLES = ("", "image", "reference")
_BEST = 8  # further candidates: the images that make the best references

# Columns by which images are ranked; `lot` is the random key.
RANKED = ("yaw", "sharpness", *BOX, "width", "height", *COLOUR, "lot", "face_probability")
Columns = Mapping[str, np.ndarray]  # those of RANKED, (n,) each


def select(
    table: pd.DataFrame,
    embeddings: Rows,
    measures: Rows,
    order: dict[str, list[str]],
    params: Curate,
) -> pd.DataFrame:
    """Select identities and images; what is too few or not needed gets a reason.

    Args:
        table: N images after the filters.
        embeddings: (N, D) float32.
        measures: (N,), a field for each of RANKED.
        order: The identities of each split, in the order in which they are taken.
        params: The section `curate`.

    Returns:
        The table with `role` and `appearance` of each image that is kept.
    """
    table = table.assign(role=_roles(np.zeros(len(table), np.int8)), appearance=np.nan)
    kept = (table["reason"] == "").to_numpy()
    candidate = table["crop"].to_numpy() >= 0
    _mark_all(
        table,
        np.flatnonzero(kept & ~candidate),
        "surplus",
        "no candidate: its identity has many more than are needed",
    )
    identities = table.loc[kept & candidate, "identity"]
    by_identity = identities.index.to_series().groupby(identities, observed=True)
    groups = {str(key): rows.to_numpy() for key, rows in by_identity}
    certain = params.min_reference_probability
    for split, keys in order.items():
        present = {key: groups[key] for key in keys if key in groups}
        limits = _Limits(_fewest(params)[split], needed(params)[split], certain)
        taken = _take_identities(table, present, measures, limits)
        most = _most(params)[split]
        _assign_roles(table, taken, embeddings, measures, split, most, certain)
    return table


class _Limits(NamedTuple):
    """Least images of an identity, most identities, least probability of a reference's face."""

    images: int
    identities: float
    certain: float


def _take_identities(
    table: pd.DataFrame,
    groups: dict[str, np.ndarray],
    measures: Rows,
    limits: _Limits,
) -> list[np.ndarray]:
    """The rows of each identity that is taken, in order; the others are marked."""
    least, most, certain = limits
    taken: list[np.ndarray] = []
    for key, rows in groups.items():
        sure = np.asarray(measures[rows]["face_probability"])
        if not is_certain(sure, certain).any():
            detail = f"a face is less probable than {certain:g} in all images of {key}"
            mark(table, rows, "no_reference", sure, detail)
        elif len(rows) < least:
            detail = f"{len(rows)} images are left of {key}; {least} are needed"
            mark(table, rows, "too_few", np.full(len(rows), float(len(rows))), detail)
        elif len(taken) == most:
            _mark_all(table, rows, "unselected", f"{len(taken)} identities are enough")
        else:
            taken.append(rows)
    return taken


def needed(params: Curate) -> dict[str, float]:
    """The number of identities requested for each split; infinity for "all"."""
    requested = {"train": params.train_identities, "test": params.test_identities}
    counts = {
        split: float("inf") if count == "all" else float(count)
        for split, count in requested.items()
    }
    return counts | {"validation": validation_needed(params)}


def mark(
    table: pd.DataFrame,
    rows: np.ndarray,
    reason: str,
    values: np.ndarray,
    detail: str,
) -> None:
    """Give rows of the table a reason, except those that have one.

    Args:
        table: With the columns reason, value and detail; it is changed.
        rows: (n,) positions.
        reason: One of schema.REASONS.
        values: (n,), the `value` of each row.
        detail: The same for all rows.
    """
    free = np.flatnonzero(table["reason"].iloc[rows] == "")
    if len(free):
        table.loc[rows[free], ["reason", "detail"]] = reason, detail
        table.loc[rows[free], "value"] = values[free]


def _mark_all(table: pd.DataFrame, rows: np.ndarray, reason: str, detail: str) -> None:
    """`mark` for a reason that has no value."""
    mark(table, rows, reason, np.full(len(rows), np.nan), detail)


def _assign_roles(
    table: pd.DataFrame,
    groups: list[np.ndarray],
    embeddings: Rows,
    measures: Rows,
    split: str,
    most: int,
    min_reference_probability: float,
) -> None:
    """Make one image of each group its reference and others its images; the rest is surplus."""
    role = table["role"].cat.codes.to_numpy(copy=True)
    appearance = table["appearance"].to_numpy(copy=True)
    surplus = [np.empty(0, np.int64)]
    for rows in groups:
        fields = measures[rows]
        group = {name: np.ascontiguousarray(fields[name]) for name in RANKED}
        order, appearance[rows] = ranked(
            group,
            embeddings[rows],
            split,
            min_reference_probability,
        )
        role[rows[order[0]]] = _ROLES.index("reference")
        role[rows[order[1:most]]] = _ROLES.index("image")
        surplus.append(rows[order[most:]])
    table["role"], table["appearance"] = _roles(role), appearance
    rest = np.concatenate(surplus)
    detail = f"more than {most - 1} images beside the reference"
    mark(table, rest, "surplus", appearance[rest], detail)


def _roles(codes: np.ndarray) -> "pd.Categorical[str]":
    return pd.Categorical.from_codes(codes, pd.Index(_ROLES))


def _fewest(params: Curate) -> dict[str, int]:
    """The least images of an identity of each split, including its reference."""
    held_out = dict.fromkeys(HELD_OUT, params.test_images.min + 1)
    return {"train": max(2, params.train_images.min)} | held_out


def _most(params: Curate) -> dict[str, int]:
    """The most images of an identity of each split, including its reference."""
    held_out = dict.fromkeys(HELD_OUT, params.test_images.max + 1)
    return {"train": params.train_images.max} | held_out


def candidates(group: Columns, embeddings: np.ndarray, params: Curate) -> np.ndarray:
    """Positions, ascending, of the images of an identity that may be taken.

    They are those that would be taken for any split if twice as many were asked for, and a few
    more that make good references. `embeddings` are (n, D).
    """
    certain = params.min_reference_probability
    chosen = [_by_reference_quality(group, certain)[:_BEST]]
    for split, most in _by_ranking(params).items():
        order, _ = ranked(group, embeddings, split, certain)
        chosen.append(order[: _SPARE * most])
    return np.unique(np.concatenate(chosen))


def most_candidates(params: Curate) -> int:
    """The most candidates that an identity can have."""
    return _SPARE * sum(_by_ranking(params).values()) + _BEST


def _by_ranking(params: Curate) -> dict[str, int]:
    """`_most`, of one split for each way in which images are ranked."""
    most = _most(params)
    return {split: most[split] for split in ("train", "test")}


def ranked(
    group: Columns,
    embeddings: np.ndarray,
    split: str,
    min_reference_probability: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the n images of an identity.

    The reference is first. Then follow, for training, images in the order of their random keys,
    and for validation and testing, those that look least like the reference.

    Args:
        group: Columns of the images.
        embeddings: (n, D).
        split: One of schema.SPLITS.
        min_reference_probability: See `is_certain`.

    Returns:
        (n,) positions in the order in which images are taken, and (n,) the `appearance` of each.
    """
    reference = _by_reference_quality(group, min_reference_probability)[0]
    differs = appearance(group, embeddings, int(reference))
    others = np.delete(np.arange(len(differs)), reference)
    if split == "train":
        rank = np.argsort(group["lot"][others], kind="stable")
    else:
        rank = _varied(differs[others], group["yaw"][others])
    return np.concatenate([[reference], others[rank]]), differs


def is_certain(probability: np.ndarray, least: float) -> np.ndarray:
    """(n,) whether each image shows a face with at least this probability.

    NaN, where no detector ran, counts as certain.
    """
    return np.asarray(~(probability < least))


def _by_reference_quality(group: Columns, min_probability: float) -> np.ndarray:
    """(n,) positions, best reference first: sharp near-frontal complete faces, then least turned.

    Faces that are not certain come after all others. A face whose box ends at the image's border
    may be cut, and its crop is padded by reflection.
    """
    turned = np.nan_to_num(np.abs(group["yaw"]))
    x, y, w, h, width, height = (group[name] for name in (*BOX, "width", "height"))
    inside = (np.minimum(x, y) > 0) & (x + w < width) & (y + h < height)
    good = (turned <= NEAR_FRONTAL) & inside
    uncertain = ~is_certain(group["face_probability"], min_probability)
    return np.lexsort((np.where(good, -group["sharpness"], turned), ~good, uncertain))


def appearance(group: Columns, embeddings: np.ndarray, reference: int) -> np.ndarray:
    """(n,) how different each image of an identity looks from the reference, 0 to 1.

    The mean of four terms, each clipped to 1: the difference of yaw over 60 degrees; the distance
    of the embeddings (n, D) over 0.6; the root mean square difference of the crops' mean colours
    over half of their range; the log ratio of face sizes over log 4. Terms that are NaN, as yaw
    without landmarks, are left out of the mean.
    """
    yaw = np.asarray(group["yaw"], float)
    colour = np.stack([group[name] for name in COLOUR], axis=1) / 255
    size = np.log(np.maximum(group["w"], group["h"]))
    terms = [
        np.abs(yaw - yaw[reference]) / _POSE,
        np.linalg.norm(embeddings - embeddings[reference], axis=1) / _FACES,
        np.sqrt(((colour - colour[reference]) ** 2).mean(axis=1)) / _COLOUR,
        np.abs(size - size[reference]) / np.log(_SCALE),
    ]
    return np.asarray(np.nanmean(np.minimum(terms, 1), axis=0))


def _varied(differs: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Most different first, but first of all the most different of each pose.

    The poses are left, frontal and right.
    """
    pose = np.where(np.abs(yaw) > NEAR_FRONTAL, np.sign(yaw), 0.0)
    by_difference = np.argsort(-differs, kind="stable")
    _, firsts = np.unique(pose[by_difference], return_index=True)
    first = by_difference[np.sort(firsts)]
    return np.concatenate([first, by_difference[~np.isin(by_difference, first)]])
