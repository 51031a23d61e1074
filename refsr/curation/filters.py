"""Filters that compare images with each other: copies, mixed folders, wrong persons."""

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from refsr.config import Curate
from refsr.curation import duplicates, outliers
from refsr.curation.feature_store import Gathered
from refsr.curation.selection import mark
from refsr.io.arrays import Chosen, give_back


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
            distance = outliers.distances(Chosen(measured.embeddings, rows), groups[rows])
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
    mixed = outliers.mixed(Chosen(measured.embeddings, rows), groups[rows], max_distance)
    for members, second, apart in mixed:
        key = table["identity"].iloc[rows[members[0]]]
        detail = f"{key} holds two people, of {len(members) - len(second)} and {len(second)} images"
        mark(table, rows[members], "mixed_people", np.full(len(members), apart), detail)
    return np.delete(rows, np.concatenate([folder.rows for folder in mixed])) if mixed else rows


def _mark_strangers(
    table: pd.DataFrame, rows: np.ndarray, groups: np.ndarray, measured: Gathered, max_distance: float
) -> None:
    strangers = rows[outliers.strangers(Chosen(measured.embeddings, rows), groups[rows], max_distance)]
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
