"""Which of the usable images are taken: the identities of each split, their reference, and the images beside it."""

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.data.measure import COLOUR
from refsr.data.rows import Rows
from refsr.data.vggface2 import BOX

NEAR_FRONTAL = 20.0  # degrees a reference may be turned, where the identity has such an image; further is a side view
# What counts as wholly different, of each term of `appearance`.
_POSE = 60.0  # degrees between two heads
_FACES = 0.6  # between embeddings: dlib's limit for one person
_COLOUR = 0.5  # of the range of a channel, root mean square over the channels
_SCALE = 4.0  # times as large a face


def select(table: pd.DataFrame, embeddings: Rows, order: dict[str, list[str]], params: Curate) -> pd.DataFrame:
    """The judged table with `role` and `appearance` of each image kept; what is too few or not needed is marked.

    `embeddings` (N, D) are of the table's rows; `order` are the identities of each split as they are to be taken.
    """
    table = table.assign(role=np.full(len(table), "", object), appearance=np.nan)
    kept = table.index[table["reason"] == ""]
    groups = {str(key): rows.to_numpy() for key, rows in kept.to_series().groupby(table.loc[kept, "identity"])}
    least = {"train": max(2, params.train_images.min), "test": params.test_images.min + 1}
    for split, keys in order.items():
        taken, enough = 0, needed(params)[split]
        for key in (key for key in keys if key in groups):
            rows = groups[key]
            if len(rows) < least[split]:
                detail = f"{len(rows)} images are left of {key}; {least[split]} are needed"
                mark(table, rows, "too_few", np.full(len(rows), float(len(rows))), detail)
            elif taken == enough:
                mark(table, rows, "unselected", np.full(len(rows), np.nan), f"{taken} identities are enough")
            else:
                taken += 1
                _give_roles(table, rows, embeddings, params)
    return table


def needed(params: Curate) -> dict[str, float]:
    """The identities wanted of each split; infinity where it is all."""
    wanted = {"train": params.train_identities, "test": params.test_identities}
    return {split: float("inf") if count == "all" else float(count) for split, count in wanted.items()}


def mark(table: pd.DataFrame, rows: np.ndarray, reason: str, values: np.ndarray, detail: str) -> None:
    """Give these rows a reason, unless they have one."""
    free = (table["reason"].to_numpy()[rows] == "").nonzero()[0]
    if len(free):
        table.loc[rows[free], ["reason", "detail"]] = reason, detail
        table.loc[rows[free], "value"] = values[free]


def _give_roles(table: pd.DataFrame, rows: np.ndarray, embeddings: Rows, params: Curate) -> None:
    """One reference; of the rest a draw in training, and in testing those that look least like the reference."""
    group = table.loc[rows]
    at = _reference(group)
    reference, others = rows[at], np.delete(rows, at)
    differs = appearance(group, embeddings[rows], at)
    table.loc[rows, "appearance"] = differs
    differs, yaw = np.delete(differs, at), np.delete(group["yaw"].to_numpy(float), at)
    if table.at[reference, "split"] == "train":
        # Seeded by the content, so that an identity's draw does not hang on the others'.
        seed = [params.seed, int(table["dhash"].to_numpy()[reference])]
        rank, most = np.random.default_rng(seed).permutation(len(others)), params.train_images.max - 1
    else:
        rank, most = _varied(differs, yaw), params.test_images.max
    table.loc[reference, "role"] = "reference"
    table.loc[others[rank[:most]], "role"] = "image"
    mark(table, others[rank[most:]], "surplus", differs[rank[most:]], f"more than {most} images beside the reference")


def _reference(group: pd.DataFrame) -> int:
    """The position of the sharpest near-frontal face that is whole; where no face is both, of the one least turned.

    A face whose box ends at the image's border may be cut, and its crop is filled up with a reflection.
    """
    turned = group["yaw"].abs().fillna(0.0).to_numpy()
    x, y, w, h, width, height = group[[*BOX, "width", "height"]].to_numpy(float).T
    good = (turned <= NEAR_FRONTAL) & (np.minimum(x, y) > 0) & (x + w < width) & (y + h < height)
    sharp = np.where(good, group["sharpness"].to_numpy(), -np.inf)
    return int(sharp.argmax() if good.any() else turned.argmin())


def appearance(group: pd.DataFrame, embeddings: np.ndarray, reference: int) -> np.ndarray:
    """(n,) how different each image of an identity looks from that at position `reference`, 0 to 1.

    The mean of four terms, each 0 for no difference and at most 1: degrees between the heads' yaw over 60; distance of
    the embeddings (n, D) over 0.6; root mean square difference of the crop's mean red, green and blue over 0.5 of
    their range; and how many times larger one face box is, logarithmic, four times being 1. Where an angle is not
    known it is the mean of the other three.
    """
    yaw = group["yaw"].to_numpy(float)
    colour = group[list(COLOUR)].to_numpy(float) / 255
    size = np.log(group[["w", "h"]].max(axis=1).to_numpy(float))
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
