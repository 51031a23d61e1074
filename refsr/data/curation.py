"""Which images are kept: every decision a pure function of what was measured.

Each image has a `reason`, empty while it is kept; the first reason found stands, so that every image left out is told
of exactly once.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from refsr.config import Curate
from refsr.data import duplicates, identity
from refsr.data.rows import Chosen, give_back
from refsr.data.selection import mark, needed, select
from refsr.data.store import Gathered
from refsr.data.vggface2 import BOX, LANDMARKS, SPLITS, Tree
from refsr.errors import RefsrError

_MARGIN = 1.15  # identities measured for each one needed

Order = dict[str, list[str]]  # split -> its identities, in the order in which they are taken


def describe(tree: Tree, images: pd.DataFrame) -> pd.DataFrame:
    """Some of the tree's images with `source`, and what its metadata tell of them: x ... h, p1x ... p5y, or NaN."""
    images = tree.with_names(images)
    identities = images["identity"].unique()
    names = images["identity"].astype("str") + "/" + images["source"].str.extract(r"([^/]*)\.[^./]*$")[0]
    boxes, landmarks = tree.boxes(identities), tree.landmarks(identities)
    images[list(BOX)] = boxes.reindex(names).to_numpy(float)
    images[list(LANDMARKS)] = landmarks.reindex(names).to_numpy(float)
    return images


def draw(images: pd.DataFrame, params: Curate) -> Order:
    """The identities of each split in the order in which they are taken: seeded, and the sexes as `params.sex` wants.

    The splits are the tree's own where it has both; else identities are drawn for testing, fewer than
    `test_identities` where the tree has too few for both splits. Raises RefsrError where identities that are listed
    are not there, or splits that are asked for.
    """
    first = images.groupby("identity", sort=True, observed=True)[["root", "sex"]].first()
    _require(first, params)
    order = [str(first.index[at]) for at in np.random.default_rng(params.seed).permutation(len(first))]
    if params.identities != "all":
        order = [key for key in order if key in set(params.identities)]
    order = _by_sex(order, dict(zip(first.index.astype(str), first["sex"], strict=True)), params.sex)
    roots = first["root"].to_dict()
    if params.splits == "own" or (params.splits == "auto" and set(SPLITS) <= set(first["root"])):
        return {split: [key for key in order if roots[key] == split] for split in SPLITS}
    tests = _drawn_for_testing(len(order), params)
    return {"train": order[tests:], "test": order[:tests]}


def _require(first: pd.DataFrame, params: Curate) -> None:
    missing = sorted(set(params.identities) - set(first.index)) if params.identities != "all" else []
    if missing:
        raise RefsrError(
            f"curate.identities: {len(missing)} of them are not in the raw set, {missing[0]} the first; take them out"
        )
    if params.splits == "own" and not set(SPLITS) <= set(first["root"]):
        raise RefsrError(
            "curate.splits: own, but the raw set has not both of train/ and test/; set it to drawn, or name another set"
        )


def _by_sex(order: list[str], sexes: dict[str, str], wanted: str) -> list[str]:
    """The order with one sex only, or women and men in turn, and after them those of whom there are no more pairs."""
    if wanted in ("f", "m"):
        return [key for key in order if sexes[key] == wanted]
    if wanted == "any":
        return order
    women, men = ([key for key in order if sexes[key] == sex] for sex in ("f", "m"))
    paired = [key for pair in zip(women, men, strict=False) for key in pair]
    return paired + [key for key in order if key not in set(paired)]


def _drawn_for_testing(total: int, params: Curate) -> int:
    """How many of `total` identities are for testing, where the raw set does not say."""
    if params.test_identities == "all":
        raise RefsrError("curate.test_identities: all, but the splits are drawn; name how many are for testing")
    trained = total if params.train_identities == "all" else params.train_identities
    share = params.test_identities / (params.test_identities + trained)
    return min(params.test_identities, max(1, round(share * total)))


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


def judge(measured: Gathered, params: Curate) -> pd.DataFrame:
    """The table with what cannot be seen on one image alone, and `identity_distance`.

    First go copies, then mixed folders, then strangers.
    """
    table = measured.table.assign(identity_distance=np.nan)
    groups = pd.factorize(table["identity"])[0]
    rows = np.flatnonzero(table["reason"] == "")
    # So many small products are slower in several threads than in one; and in one, sums come in one order everywhere.
    with threadpool_limits(1):
        if len(rows):
            distance = identity.distances(Chosen(measured.embeddings, rows), groups[rows])
            table.loc[rows, "identity_distance"] = distance
            _mark_copies(table, rows, measured, params.max_duplicate_bits)
            give_back()
            rows = _mark_mixed(table, rows, groups, measured, params.max_identity_distance)
        if len(rows):
            _mark_strangers(table, rows, groups, measured, params.max_identity_distance)
    return table


def _mark_mixed(
    table: pd.DataFrame, rows: np.ndarray, groups: np.ndarray, measured: Gathered, max_distance: float
) -> np.ndarray:
    """A mixed folder goes as a whole: which of the two it is named after, the faces do not say."""
    mixed = identity.mixed(Chosen(measured.embeddings, rows), groups[rows], max_distance)
    for members, second, apart in mixed:
        key = table["identity"].iloc[rows[members[0]]]
        detail = f"{key} holds two people, of {len(members) - len(second)} and {len(second)} images"
        mark(table, rows[members], "mixed_people", np.full(len(members), apart), detail)
    return np.delete(rows, np.concatenate([folder.rows for folder in mixed])) if mixed else rows


def _mark_strangers(
    table: pd.DataFrame, rows: np.ndarray, groups: np.ndarray, measured: Gathered, max_distance: float
) -> None:
    strangers = rows[identity.strangers(Chosen(measured.embeddings, rows), groups[rows], max_distance)]
    distance = table["identity_distance"].to_numpy()[strangers]
    mark(table, strangers, "wrong_person", distance, "not the face of its folder")


def _mark_copies(table: pd.DataFrame, rows: np.ndarray, measured: Gathered, max_bits: int) -> None:
    """Of two copies in one folder the smaller face goes; of two in different folders, the one that fits its less."""
    hashes = table["dhash"].to_numpy()[rows]
    identities, sources = table["identity"].cat.codes.to_numpy(), table["source"]
    distance = table["identity_distance"].to_numpy()
    thumbs, embeddings = Chosen(measured.thumbs, rows), Chosen(measured.embeddings, rows)
    pairs, alike = duplicates.find_copies(hashes, thumbs, embeddings, max_bits)
    copies: dict[int, tuple[str, float, str]] = {}
    for (a, b), likeness in zip(rows[pairs].tolist(), alike.tolist(), strict=True):
        if a in copies or b in copies:
            continue
        if identities[a] == identities[b]:
            first, second = ((min(face["w"], face["h"]), face["sharpness"]) for face in measured.ranked[[a, b]])
            reason, worse = "near_duplicate", first < second
        else:
            reason, worse = "cross_duplicate", distance[a] > distance[b]
        gone, stays = (a, b) if worse else (b, a)
        copies[gone] = reason, likeness, f"copy of {sources.iloc[stays]}"
    for name, told in zip(("reason", "value", "detail"), zip(*copies.values(), strict=True), strict=False):
        table.loc[[*copies], name] = list(told)
