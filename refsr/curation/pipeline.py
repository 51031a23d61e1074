"""Which images are kept: extract features, filter them, select among those that are left.

Each image has a `reason`, which is empty while the image is kept. Once set it does not change, so
that every image left out has exactly one.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation.feature_store import Features
from refsr.curation.filters import apply_filters
from refsr.curation.same_person import mark_same_people
from refsr.curation.selection import needed, select
from refsr.curation.splits import Order
from refsr.dataset.schema import SPLITS
from refsr.layouts.base import BOX, LANDMARKS
from refsr.layouts.tree import Tree

_MARGIN = 1.15  # identities extracted for each one needed


def curate_images(
    order: Order,
    params: Curate,
    extract: Callable[[list[str]], Features],
) -> pd.DataFrame:
    """Extract, filter and select images, until enough identities are left.

    Identities are extracted in rounds, a few more than needed, until enough are left or none
    remain: a tenth of VGGFace2 is read.

    Args:
        order: The identities of each split, in the order in which they are taken.
        params: The section `curate`.
        extract: Returns the features of the identities of all rounds so far, in order.

    Returns:
        The images extracted, with `split`, `role`, `reason`, `value`, `detail` and all measures.
    """
    queue = {split: list(keys) for split, keys in order.items()}
    identities: list[str] = []
    chosen = dict.fromkeys(SPLITS, 0)
    while batch := _next_round(queue, _missing(params, chosen)):
        identities += batch
        features = extract(identities)
        table = apply_filters(features, params.max_duplicate_bits, params.max_identity_distance)
        table["split"] = _splits(table["identity"], order)
        if features.are_detected:  # the people of a set with box files are known to be apart
            mark_same_people(table, features.embeddings)
        table = select(table, features.embeddings, features.ranked, order, params)
        chosen = _identities_kept(table)
    return table


def first_round(order: Order, params: Curate) -> list[str]:
    """The identities of the first round, which are extracted in any case."""
    queue = {split: list(keys) for split, keys in order.items()}
    return _next_round(queue, needed(params))


def _missing(params: Curate, chosen: dict[str, int]) -> dict[str, float]:
    """The number of identities that each split still needs."""
    return {split: count - chosen[split] for split, count in needed(params).items()}


def _next_round(queue: Order, missing: dict[str, float]) -> list[str]:
    """Take the next identities from the queue, a few more than are missing."""
    batch: list[str] = []
    for split, keys in queue.items():
        short = missing[split]
        count = math.ceil(min(short * _MARGIN, len(keys))) if short > 0 else 0
        batch += keys[:count]
        del keys[:count]
    return sorted(batch)


def _splits(identities: "pd.Series[str]", order: Order) -> "pd.Categorical[str]":
    split_of = {key: split for split, keys in order.items() for key in keys}
    of_each = pd.Categorical(identities.cat.categories.map(split_of), SPLITS)
    return of_each.take(identities.cat.codes.to_numpy())


def _identities_kept(table: pd.DataFrame) -> dict[str, int]:
    kept = table[table["reason"] == ""]
    by_split = {split: kept.loc[kept["split"] == split, "identity"] for split in SPLITS}
    return {split: identities.nunique() for split, identities in by_split.items()}


def describe(tree: Tree, images: pd.DataFrame) -> pd.DataFrame:
    """Images of the tree with `source` and metadata: x ... h, p1x ... p5y, NaN where unknown."""
    images = tree.with_names(images)
    identities = images["identity"].unique()
    stems = images["source"].str.extract(r"([^/]*)\.[^./]*$")[0]
    names = images["identity"].astype("str") + "/" + stems
    boxes = tree.metadata.boxes(identities)
    landmarks = tree.metadata.landmarks(identities)
    images[list(BOX)] = boxes.reindex(names).to_numpy(float)
    images[list(LANDMARKS)] = landmarks.reindex(names).to_numpy(float)
    return images


def unread(tree: Tree, table: pd.DataFrame) -> pd.DataFrame:
    """The tree's images that were never read, as rejects."""
    is_read = tree.images["identity"].isin(table["identity"].unique())
    rest = tree.with_names(tree.images[~is_read])
    # One string for all rows.
    reason = np.full(len(rest), "unselected", object)
    detail = np.full(len(rest), "not read", object)
    columns = rest[["identity", "source"]]
    return columns.assign(reason=reason, value=np.nan, detail=detail)
