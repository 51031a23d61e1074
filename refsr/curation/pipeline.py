"""Which images are kept: every decision a pure function of what was measured.

Each image has a `reason`, empty while it is kept; the first reason found stands, so that every image left out is told
of exactly once.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation.feature_store import Gathered
from refsr.curation.filters import judge
from refsr.curation.selection import needed, select
from refsr.curation.splits import Order
from refsr.layouts.base import BOX, LANDMARKS, SPLITS
from refsr.layouts.tree import Tree

_MARGIN = 1.15  # identities measured for each one needed


def describe(tree: Tree, images: pd.DataFrame) -> pd.DataFrame:
    """Some of the tree's images with `source`, and what its metadata tell of them: x ... h, p1x ... p5y, or NaN."""
    images = tree.with_names(images)
    identities = images["identity"].unique()
    names = images["identity"].astype("str") + "/" + images["source"].str.extract(r"([^/]*)\.[^./]*$")[0]
    known = tree.metadata
    boxes, landmarks = known.boxes(identities), known.landmarks(identities)
    images[list(BOX)] = boxes.reindex(names).to_numpy(float)
    images[list(LANDMARKS)] = landmarks.reindex(names).to_numpy(float)
    return images


def curate_images(
    images: pd.DataFrame, order: Order, params: Curate, measure: Callable[[list[str]], Gathered]
) -> pd.DataFrame:
    """The images measured, with `split`, `role`, `reason`, `value`, `detail` and all measures.

    Identities are measured in rounds, a few more than needed, until enough of them stand or none are left: of the
    whole of VGGFace2 a tenth is read. `measure` is given the identities of all rounds so far, in order.
    """
    splits = {key: split for split, keys in order.items() for key in keys}
    waiting = {split: list(keys) for split, keys in order.items()}
    measured: list[str] = []
    chosen = dict.fromkeys(SPLITS, 0)
    while batch := _next_round(waiting, chosen, params):
        measured += batch
        everything = measure(measured)
        table = judge(everything, params)
        table["split"] = pd.Categorical(table["identity"].map(splits), sorted(SPLITS))
        table = select(table, everything.embeddings, everything.ranked, order, params)
        kept = table[table["reason"] == ""]
        chosen = {split: kept.loc[kept["split"] == split, "identity"].nunique() for split in SPLITS}
    return table


def first_round(order: Order, params: Curate) -> list[str]:
    """The identities that are measured whatever comes of them."""
    return _next_round({split: list(keys) for split, keys in order.items()}, dict.fromkeys(SPLITS, 0), params)


def unread(tree: Tree, table: pd.DataFrame) -> pd.DataFrame:
    """The tree's images that were never looked at, as rejects."""
    rest = tree.with_names(tree.images[~tree.images["identity"].isin(table["identity"].unique())])
    reason, detail = (np.full(len(rest), told, object) for told in ("unselected", "not read"))  # one string for all
    return rest[["identity", "source"]].assign(reason=reason, value=np.nan, detail=detail)


def _next_round(waiting: Order, chosen: dict[str, int], params: Curate) -> list[str]:
    batch: list[str] = []
    for split, keys in waiting.items():
        short = needed(params)[split] - chosen[split]
        count = math.ceil(min(short * _MARGIN, len(keys))) if short > 0 else 0
        batch += keys[:count]
        del keys[:count]
    return sorted(batch)
