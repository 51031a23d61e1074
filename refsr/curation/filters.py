"""Filters that compare images with each other: copies, mixed folders, wrong persons."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from refsr.curation import duplicates, mixed_folders, outliers, same_person
from refsr.curation.feature_store import Features
from refsr.curation.selection import mark
from refsr.io.arrays import Chosen, Rows, blocks

_OTHER_FACE = "not the face of its folder"
_NO_COMMON_FACE = (
    "no two faces of its folder are of one person, so that none is known to be its own"
)


def apply_filters(
    features: Features,
    max_duplicate_bits: int,
    max_identity_distance: float,
) -> pd.DataFrame:
    """The features' table with rejects marked, and with `identity_distance`.

    The filters run in order: copies, mixed folders, wrong persons.

    Args:
        features: Of N images.
        max_duplicate_bits: Hamming distance of two difference hashes up to which thumbnails
            are compared.
        max_identity_distance: Of an embedding to its group's centre; of the centres of two
            people in one folder.
    """
    table = features.table.assign(identity_distance=np.nan)
    groups = pd.factorize(table["identity"])[0]
    rows = np.flatnonzero(table["reason"] == "")
    # Such small products are slower in several threads, and one thread always sums in one order.
    with threadpool_limits(1):
        if len(rows):
            chosen = Chosen(features.embeddings, rows)
            table.loc[rows, "identity_distance"] = outliers.distances(chosen, groups[rows])
            _mark_copies(table, rows, features, max_duplicate_bits)
            if features.are_detected:  # copies of several others' images are no second person
                rows = rows[(table["reason"] == "").to_numpy()[rows]]
        if len(rows):
            rows = _mark_mixed(table, rows, groups, features, max_identity_distance)
        if len(rows):
            chosen = Chosen(features.embeddings, rows)
            ranked = Chosen(features.ranked, rows)
            yaw = np.concatenate([ranked[part]["yaw"] for part in blocks(len(rows))])
            wrong = outliers.wrong_persons(chosen, groups[rows], yaw, max_identity_distance)
            if features.are_detected:
                _mark_whole_copies(table, rows, wrong, features.thumbs, max_duplicate_bits)
            _mark_wrong_persons(table, rows, wrong, groups)
    return table


def _mark_mixed(
    table: pd.DataFrame,
    rows: np.ndarray,
    groups: np.ndarray,
    features: Features,
    max_distance: float,
) -> np.ndarray:
    """Mark folders that hold two people; returns the rows that are left.

    The whole folder is left out: the faces do not say which person it is named after.
    """
    find = same_person.mixed if features.are_detected else mixed_folders.mixed
    mixed = find(Chosen(features.embeddings, rows), groups[rows], max_distance)
    for members, second, apart in mixed:
        key = table["identity"].iloc[rows[members[0]]]
        first = np.setdiff1d(members, second)
        detail = f"{key} holds two people, of {len(first)} and {len(second)} images"
        for number, part in ((1, first), (2, second)):
            of_part = f"{detail}; this one is of person {number}"
            mark(table, rows[part], "mixed_people", np.full(len(part), apart), of_part)
    if not mixed:
        return rows
    return np.delete(rows, np.concatenate([folder.rows for folder in mixed]))


def _mark_wrong_persons(
    table: pd.DataFrame, rows: np.ndarray, is_wrong: np.ndarray, groups: np.ndarray
) -> None:
    """Mark images whose face is not that of their group, as `is_wrong` of `rows` says."""
    wrong = rows[is_wrong]
    distance = table["identity_distance"].to_numpy()[wrong]
    alone = np.isin(groups[wrong], groups[rows[~is_wrong]], invert=True)
    for part, detail in ((~alone, _OTHER_FACE), (alone, _NO_COMMON_FACE)):
        mark(table, wrong[part], "wrong_person", distance[part], detail)


def _mark_whole_copies(
    table: pd.DataFrame, rows: np.ndarray, is_wrong: np.ndarray, thumbs: Rows, max_bits: int
) -> None:
    """Mark wrong persons that are copies of whole images of other folders.

    Of several faces, another one than in the original was chosen, so that faces did not show it.
    """
    identities = table["identity"].cat.codes.to_numpy()[rows]
    for copy, of, alike in duplicates.find_whole_copies(Chosen(thumbs, rows), is_wrong, max_bits):
        if identities[copy] != identities[of]:
            detail = f"copy of {table['source'].iloc[rows[of]]}"
            mark(table, rows[[copy]], "cross_duplicate", np.array([alike]), detail)


class _Copy(NamedTuple):
    """The `reason`, `value` and `detail` of a copy that is left out."""

    reason: str
    value: float
    detail: str


def _mark_copies(table: pd.DataFrame, rows: np.ndarray, features: Features, max_bits: int) -> None:
    """Mark one image of each pair of copies.

    Within a folder the smaller face is left out; of two folders, the image that fits its own less.
    """
    thumbs, embeddings = Chosen(features.thumbs, rows), Chosen(features.embeddings, rows)
    if features.are_detected:
        faces = Chosen(features.ranked, rows)
        pairs, alike = duplicates.find_detected_copies(thumbs, embeddings, faces, max_bits)
    else:
        hashes = table["dhash"].to_numpy()[rows]
        pairs, alike = duplicates.find_copies(hashes, thumbs, embeddings, max_bits)
    identities = table["identity"].cat.codes.to_numpy()
    distance = table["identity_distance"].to_numpy()
    copies: dict[int, _Copy] = {}
    for (a, b), likeness in zip(rows[pairs].tolist(), alike.tolist(), strict=True):
        if a in copies or b in copies:
            continue
        if identities[a] == identities[b]:
            reason, first_is_worse = "near_duplicate", _is_smaller(features.ranked[[a, b]])
        else:
            reason, first_is_worse = "cross_duplicate", distance[a] > distance[b]
        copy, original = (a, b) if first_is_worse else (b, a)
        detail = f"copy of {table['source'].iloc[original]}"
        copies[copy] = _Copy(reason, likeness, detail)
    for name in _Copy._fields if copies else ():
        table.loc[[*copies], name] = [getattr(copy, name) for copy in copies.values()]


def _is_smaller(pair: np.ndarray) -> bool:
    """Whether the first face is smaller than the second, or as small and less sharp."""
    first, second = ((min(face["w"], face["h"]), face["sharpness"]) for face in pair)
    return bool(first < second)
