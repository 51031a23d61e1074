"""Which images are kept: every decision a pure function of what was measured.

Each image has a `reason`, empty while it is kept; the first reason found stands, so that every image left out is told
of exactly once.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.data import duplicates, identity, quality
from refsr.data.measurements import Measured
from refsr.data.vggface2 import BOX, LANDMARKS, SPLITS, Tree

NEAR_FRONTAL = 20.0  # degrees a reference may be turned, where the identity has such an image
_MARGIN = 1.15  # identities measured for each one needed

Order = dict[str, list[str]]  # split -> its identities, in the order in which they are taken


def describe(tree: Tree) -> pd.DataFrame:
    """A row per image of the tree, with what its metadata tell: box, landmarks, yaw, sex (NaN or ? where unknown)."""
    images = tree.images()
    boxes, landmarks, sexes = tree.boxes(), tree.landmarks(), tree.sexes()
    images[list(BOX)] = boxes.reindex(images["name"]).to_numpy(float)
    images[list(LANDMARKS)] = landmarks.reindex(images["name"]).to_numpy(float)
    images["yaw"] = quality.head_yaw(images[list(LANDMARKS)].to_numpy().reshape(-1, 5, 2))
    images["sex"] = [sexes.get(key, "?") for key in images["identity"]]
    return images


def draw(images: pd.DataFrame, params: Curate) -> Order:
    """The identities of each split in a seeded order.

    The splits are the tree's own where it has both; else identities are drawn for testing, fewer than
    `test_identities` where the tree has too few for both splits.
    """
    roots = images.groupby("identity", sort=True)["root"].first()
    order = [str(roots.index[at]) for at in np.random.default_rng(params.seed).permutation(len(roots))]
    if set(SPLITS) <= set(roots):
        return {split: [key for key in order if roots[key] == split] for split in SPLITS}
    share = params.test_identities / (params.test_identities + params.train_identities)
    tests = min(params.test_identities, max(1, round(share * len(order))))
    return {"train": order[tests:], "test": order[:tests]}


def curate_images(
    images: pd.DataFrame, order: Order, params: Curate, measure: Callable[[pd.DataFrame], Measured]
) -> pd.DataFrame:
    """The images with `split`, `role`, `reason`, `value`, `detail` and all measures.

    Identities are measured in rounds, a few more than needed, until enough of them stand or none are left: of the
    whole of VGGFace2 a tenth is read. Images of identities never measured are "unselected".
    """
    splits = {key: split for split, keys in order.items() for key in keys}
    images = images[images["identity"].isin(splits)]
    waiting = {split: list(keys) for split, keys in order.items()}
    measured, chosen = None, dict.fromkeys(SPLITS, 0)
    while batch := _next_round(waiting, chosen, params):
        part = measure(images[images["identity"].isin(batch)])
        measured = measured + part if measured else part
        table = judge(measured, params)
        table["split"] = table["identity"].map(splits)
        table = select(table, measured.thumbs, order, params)
        kept = table[table["reason"] == ""]
        chosen = {split: kept.loc[kept["split"] == split, "identity"].nunique() for split in SPLITS}
    rest = images[~images["source"].isin(table["source"])].assign(reason="unselected", value=np.nan, detail="not read")
    return pd.concat([table, rest], ignore_index=True) if len(rest) else table


def _next_round(waiting: Order, chosen: dict[str, int], params: Curate) -> set[str]:
    needed = {"train": params.train_identities, "test": params.test_identities}
    batch: set[str] = set()
    for split, keys in waiting.items():
        short = needed[split] - chosen[split]
        count = math.ceil(short * _MARGIN) if short > 0 else 0
        batch.update(keys[:count])
        del keys[:count]
    return batch


def judge(measured: Measured, params: Curate) -> pd.DataFrame:
    """The table with copies and strangers marked, and `identity_distance`."""
    table = measured.table.copy()
    usable = np.flatnonzero(table["reason"] == "")
    table["identity_distance"] = np.nan
    if not len(usable):
        return table
    groups = table["identity"].to_numpy()[usable]
    embeddings = measured.embeddings[usable]
    distance, strangeness = identity.fit(embeddings, groups)
    table.loc[usable, "identity_distance"] = distance
    faceless = identity.faceless(embeddings, measured.background, distance, strangeness)
    _mark(table, usable[faceless], "no_face", distance[faceless], "the box holds no face")
    _mark_copies(table, usable[~faceless], measured, params.max_duplicate_bits)
    strangers = identity.strangers(embeddings[~faceless], groups[~faceless], params.max_identity_distance)
    _mark(
        table,
        usable[~faceless][strangers],
        "wrong_person",
        distance[~faceless][strangers],
        "not the face of its folder",
    )
    return table


def _mark(table: pd.DataFrame, rows: np.ndarray, reason: str, values: np.ndarray, detail: str) -> None:
    """Give these rows a reason, unless they have one."""
    free = (table["reason"].to_numpy()[rows] == "").nonzero()[0]
    rows = rows[free]
    table.loc[rows, ["reason", "detail"]] = reason, detail
    table.loc[rows, "value"] = values[free]


def _mark_copies(table: pd.DataFrame, rows: np.ndarray, measured: Measured, max_bits: int) -> None:
    """Of two copies in one folder the smaller face goes; of two in different folders, the one that fits its less."""
    hashes = table["dhash"].to_numpy()[rows]
    identities, sources = table["identity"].to_numpy(), table["source"].to_numpy()
    distance = table["identity_distance"].to_numpy()
    size, sharpness = table[["w", "h"]].min(axis=1).to_numpy(), table["sharpness"].to_numpy()
    pairs, alike = duplicates.find_copies(hashes, measured.thumbs[rows], measured.embeddings[rows], max_bits)
    for (a, b), likeness in zip(rows[pairs], alike, strict=True):
        if table.at[a, "reason"] or table.at[b, "reason"]:
            continue
        if identities[a] == identities[b]:
            reason, worse = "near_duplicate", (size[a], sharpness[a]) < (size[b], sharpness[b])
        else:
            reason, worse = "cross_duplicate", distance[a] > distance[b]
        gone, stays = (a, b) if worse else (b, a)
        table.loc[gone, ["reason", "detail"]] = reason, f"copy of {sources[stays]}"
        table.loc[gone, "value"] = likeness


def select(table: pd.DataFrame, thumbs: np.ndarray, order: Order, params: Curate) -> pd.DataFrame:
    """The judged table with `role` of each image kept; those of identities too small or not needed are marked."""
    table["role"] = ""
    kept = table.index[table["reason"] == ""]
    groups = {str(key): rows.to_numpy() for key, rows in kept.to_series().groupby(table.loc[kept, "identity"])}
    needed = {"train": params.train_identities, "test": params.test_identities}
    least = {"train": max(2, params.train_images.min), "test": params.test_images.min + 1}
    for split, keys in order.items():
        taken = 0
        for key in (key for key in keys if key in groups):
            rows = groups[key]
            if len(rows) < least[split]:
                detail = f"{len(rows)} images are left of {key}; {least[split]} are needed"
                _mark(table, rows, "too_few", np.full(len(rows), float(len(rows))), detail)
            elif taken == needed[split]:
                _mark(table, rows, "unselected", np.full(len(rows), np.nan), f"{taken} identities are enough")
            else:
                taken += 1
                _give_roles(table, rows, thumbs, params)
    return table


def _give_roles(table: pd.DataFrame, rows: np.ndarray, thumbs: np.ndarray, params: Curate) -> None:
    """One reference; of the rest a draw in training, and in testing those that look least like the reference."""
    reference = rows[_reference(table.loc[rows])]
    others = rows[rows != reference]
    alike = duplicates.correlate(thumbs[others], thumbs[[reference] * len(others)])
    if table.at[reference, "split"] == "train":
        # Seeded by the content, so that an identity's draw does not hang on the others'.
        seed = [params.seed, int(table["dhash"].to_numpy()[reference])]
        rank, most = np.random.default_rng(seed).permutation(len(others)), params.train_images.max - 1
    else:
        rank, most = np.argsort(alike, kind="stable"), params.test_images.max
    table.loc[reference, "role"] = "reference"
    table.loc[others[rank[:most]], "role"] = "image"
    _mark(table, others[rank[most:]], "surplus", alike[rank[most:]], f"more than {most} images beside the reference")


def _reference(group: pd.DataFrame) -> int:
    """The position of the sharpest near-frontal face that is whole; where no face is both, of the one least turned.

    A face whose box ends at the image's border may be cut, and its crop is filled up with a reflection.
    """
    turned = group["yaw"].abs().fillna(0.0).to_numpy()
    x, y, w, h, width, height = group[[*BOX, "width", "height"]].to_numpy(float).T
    good = (turned <= NEAR_FRONTAL) & (np.minimum(x, y) > 0) & (x + w < width) & (y + h < height)
    sharp = np.where(good, group["sharpness"].to_numpy(), -np.inf)
    return int(sharp.argmax() if good.any() else turned.argmin())
