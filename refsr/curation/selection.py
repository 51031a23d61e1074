"""Which of the usable images are taken: the identities of each split, their reference, and the images beside it.

An identity may have many more images than are asked for. Some are candidates, known as soon as it is measured, before
anything is judged; only theirs are the crops that are kept, and only they are taken.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation.image_features import COLOUR
from refsr.io.arrays import Rows
from refsr.layouts.base import BOX

NEAR_FRONTAL = 20.0  # degrees a reference may be turned, where the identity has such an image; further is a side view
# What counts as wholly different, of each term of `appearance`.
_POSE = 60.0  # degrees between two heads
_FACES = 0.6  # between embeddings: dlib's limit for one person
_COLOUR = 0.5  # of the range of a channel, root mean square over the channels
_SCALE = 4.0  # times as large a face
_SPARE = 2  # candidates for each image asked for, as some will be found to be copies or strangers
_ROLES = ("", "image", "reference")
_BEST = 8  # and so many of the images that make the best references

RANKED = ("yaw", "sharpness", *BOX, "width", "height", *COLOUR, "lot", "face_probability")
Columns = Mapping[str, np.ndarray]  # those of RANKED, (n,) each


def select(
    table: pd.DataFrame, embeddings: Rows, measures: Rows, order: dict[str, list[str]], params: Curate
) -> pd.DataFrame:
    """The judged table with `role` and `appearance` of each image kept; what is too few or not needed is marked.

    `embeddings` (N, D) and `measures` (N,), a field for each of RANKED, are of the table's rows; `order` are the
    identities of each split as they are to be taken.
    """
    table = table.assign(role=_roles(np.zeros(len(table), np.int8)), appearance=np.nan)
    kept, candidate = (table["reason"] == "").to_numpy(), table["crop"].to_numpy() >= 0
    rest = np.flatnonzero(kept & ~candidate)
    mark(table, rest, "surplus", np.full(len(rest), np.nan), "no candidate: its identity has many more than are needed")
    whose = table.loc[kept & candidate, "identity"]
    groups = {str(key): rows.to_numpy() for key, rows in whose.index.to_series().groupby(whose, observed=True)}
    least = {"train": max(2, params.train_images.min), "test": params.test_images.min + 1}
    for split, keys in order.items():
        taken: list[np.ndarray] = []
        for key in (key for key in keys if key in groups):
            rows = groups[key]
            sure = np.asarray(measures[rows]["face_probability"])
            if not is_certain(sure, params).any():
                detail = f"a face is less probable than {params.min_reference_probability:g} in all images of {key}"
                mark(table, rows, "no_reference", sure, detail)
            elif len(rows) < least[split]:
                detail = f"{len(rows)} images are left of {key}; {least[split]} are needed"
                mark(table, rows, "too_few", np.full(len(rows), float(len(rows))), detail)
            elif len(taken) == needed(params)[split]:
                mark(table, rows, "unselected", np.full(len(rows), np.nan), f"{len(taken)} identities are enough")
            else:
                taken.append(rows)
        _give_roles(table, taken, embeddings, measures, split, params)
    return table


def needed(params: Curate) -> dict[str, float]:
    """The identities wanted of each split; infinity where it is all."""
    wanted = {"train": params.train_identities, "test": params.test_identities}
    return {split: float("inf") if count == "all" else float(count) for split, count in wanted.items()}


def mark(table: pd.DataFrame, rows: np.ndarray, reason: str, values: np.ndarray, detail: str) -> None:
    """Give these rows a reason, unless they have one."""
    free = np.flatnonzero(table["reason"].iloc[rows] == "")
    if len(free):
        table.loc[rows[free], ["reason", "detail"]] = reason, detail
        table.loc[rows[free], "value"] = values[free]


def _give_roles(
    table: pd.DataFrame, groups: list[np.ndarray], embeddings: Rows, measures: Rows, split: str, params: Curate
) -> None:
    """The reference and the images of each of these groups of rows; the others are surplus."""
    most = _limits(params)[split]
    role, appearance = table["role"].cat.codes.to_numpy(copy=True), table["appearance"].to_numpy(copy=True)
    surplus = [np.empty(0, np.int64)]
    for rows in groups:
        measured = measures[rows]
        group = {name: np.ascontiguousarray(measured[name]) for name in RANKED}
        order, appearance[rows] = ranked(group, embeddings[rows], split, params)
        role[rows[order[0]]], role[rows[order[1:most]]] = _ROLES.index("reference"), _ROLES.index("image")
        surplus.append(rows[order[most:]])
    table["role"], table["appearance"] = _roles(role), appearance
    gone = np.concatenate(surplus)
    mark(table, gone, "surplus", appearance[gone], f"more than {most - 1} images beside the reference")


def _roles(codes: np.ndarray) -> "pd.Categorical[str]":
    return pd.Categorical.from_codes(codes, pd.Index(_ROLES))


def _limits(params: Curate) -> dict[str, int]:
    """The most images of an identity of each split, its reference among them."""
    return {"train": params.train_images.max, "test": params.test_images.max + 1}


def candidates(group: Columns, embeddings: np.ndarray, params: Curate) -> np.ndarray:
    """The positions, ascending, of the usable images of an identity that may be taken, be it for training or testing.

    They are those that would be taken if twice as many were asked for, and a few more that make good references.
    """
    first = [ranked(group, embeddings, split, params)[0][: _SPARE * most] for split, most in _limits(params).items()]
    return np.unique(np.concatenate([*first, _as_references(group, params)[:_BEST]]))


def most_candidates(params: Curate) -> int:
    """The most that an identity can have."""
    return _SPARE * sum(_limits(params).values()) + _BEST


def ranked(group: Columns, embeddings: np.ndarray, split: str, params: Curate) -> tuple[np.ndarray, np.ndarray]:
    """(n,) positions of the images in the order in which they are taken, and (n,) the `appearance` of each.

    The reference is first; then come, for training, the images as their lots are drawn, and for testing those that look
    least like it.
    """
    at = _as_references(group, params)[0]
    differs = appearance(group, embeddings, int(at))
    others = np.delete(np.arange(len(differs)), at)
    by_lot = np.argsort(group["lot"][others], kind="stable")
    rank = by_lot if split == "train" else _varied(differs[others], group["yaw"][others])
    return np.concatenate([[at], others[rank]]), differs


def is_certain(probability: np.ndarray, params: Curate) -> np.ndarray:
    """(n,) whether each shows a face certainly enough for a reference; NaN, where no detector was asked, does."""
    return np.asarray(~(probability < params.min_reference_probability))


def _as_references(group: Columns, params: Curate) -> np.ndarray:
    """(n,) positions, the best reference first: the sharpest near-frontal faces that are whole, then the least turned.

    Faces that are not certain come after all others.

    A face whose box ends at the image's border may be cut, and its crop is filled up with a reflection.
    """
    turned = np.nan_to_num(np.abs(group["yaw"]))
    x, y, w, h, width, height = (group[name] for name in (*BOX, "width", "height"))
    good = (turned <= NEAR_FRONTAL) & (np.minimum(x, y) > 0) & (x + w < width) & (y + h < height)
    uncertain = ~is_certain(group["face_probability"], params)
    return np.lexsort((np.where(good, -group["sharpness"], turned), ~good, uncertain))


def appearance(group: Columns, embeddings: np.ndarray, reference: int) -> np.ndarray:
    """(n,) how different each image of an identity looks from that at position `reference`, 0 to 1.

    The mean of four terms, each 0 for no difference and at most 1: degrees between the heads' yaw over 60; distance of
    the embeddings (n, D) over 0.6; root mean square difference of the crop's mean red, green and blue over 0.5 of
    their range; and how many times larger one face box is, logarithmic, four times being 1. Where an angle is not
    known it is the mean of the other three.
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
    """The most different first, but before all others the most different of each pose: left, frontal and right."""
    pose = np.where(np.abs(yaw) > NEAR_FRONTAL, np.sign(yaw), 0.0)
    by_difference = np.argsort(-differs, kind="stable")
    _, firsts = np.unique(pose[by_difference], return_index=True)
    first = by_difference[np.sort(firsts)]
    return np.concatenate([first, by_difference[~np.isin(by_difference, first)]])
