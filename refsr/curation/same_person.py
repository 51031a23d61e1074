"""Whether mean faces are of one person, by how far apart the people of the set are.

One person under two names: identities of different splits whose mean faces are near. Two people
under one name: a folder whose halves are not near.
"""

import numpy as np
import pandas as pd

from refsr.curation import outliers
from refsr.curation.selection import mark
from refsr.dataset.schema import SPLITS
from refsr.io.arrays import Chosen, Rows

# Deviations below the mean distance of two people of the set from which on two identities are one
# person; the mean of those of embeddings and of whitened ones.
_ONE_PERSON = -3.9
_FEW_PEOPLE = 100  # up to which this holds; in larger sets more pairs are near by chance
_PER_DECADE = -0.45  # what it changes by with ten times the people
_TWO_PEOPLE = -2.9  # the same, from which on the halves of a folder are two people
_LEAST_PEOPLE = 8  # needed for a meaningful deviation
_NEAREST = 0.125  # pairs for each person that may be one person
_BLOCK = 512  # identities compared with all others at a time


def mark_same_people(table: pd.DataFrame, embeddings: Rows) -> None:
    """Leave out identities that are the same person as one of a later split.

    Validation is later than training, and testing than both, so that those who are tested stay.

    Args:
        table: N images after the filters, with `split`; it is changed.
        embeddings: (N, D).
    """
    rows = np.flatnonzero(table["reason"] == "")
    if not len(rows):
        return
    names, codes = np.unique(table["identity"].iloc[rows].astype(str), return_inverse=True)
    first = rows[np.unique(codes, return_index=True)[1]]
    split = pd.Categorical(table["split"].iloc[first], SPLITS).codes
    for a, b, score in pairs(Chosen(embeddings, rows), codes):
        if split[a] == split[b]:
            continue
        left_out, stays = (a, b) if split[a] < split[b] else (b, a)
        detail = f"{names[left_out]} is the person of {names[stays]} in {SPLITS[split[stays]]}"
        members = rows[codes == left_out]
        mark(table, members, "same_person", np.full(len(members), score), detail)


def pairs(embeddings: Rows, groups: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of groups that are one person, and their scores, see `_ONE_PERSON`.

    The distances of all other pairs of the set are those of different people; their mean and
    deviation depend on the set, as the quality of its images does.

    Args:
        embeddings: (N, D).
        groups: (N,) codes from 0.
    """
    members = outliers.rows_by_group(groups)
    if len(members) < _LEAST_PEOPLE:
        return []
    # Wrong persons are left out already, so that all images count: a mean of more varies less.
    plain = _means(embeddings, members)
    white = _means(outliers.whitened(embeddings, groups), members)
    scales = [_mean_and_deviation(each) for each in (plain, white)]
    least = _ONE_PERSON + _PER_DECADE * np.log10(max(1.0, len(plain) / _FEW_PEOPLE))
    result = []
    for start in range(0, len(plain), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores = np.mean(
            [
                (outliers.between(each[part], each) - mean) / deviation
                for each, (mean, deviation) in zip((plain, white), scales, strict=True)
            ],
            axis=0,
        )
        near, other = np.nonzero(scores < least)
        for a, b in zip(near.tolist(), other.tolist(), strict=True):
            if start + a < b:
                result.append((start + a, b, float(scores[a, b])))
    return result


def mixed(embeddings: Rows, groups: np.ndarray, max_distance: float) -> list[outliers.Mixed]:
    """`outliers.mixed` by the distances of the set's people; by `max_distance` where they are few.

    Args:
        embeddings: (N, D).
        groups: (N,) the group of each.
        max_distance: As for `outliers.mixed`.
    """
    members = outliers.rows_by_group(groups)
    if len(members) < _LEAST_PEOPLE:
        return outliers.mixed(embeddings, groups, max_distance)
    halves = {
        at: second for at, rows in enumerate(members) if len(second := _half(embeddings[rows]))
    }
    white = outliers.whitened(embeddings, _with_halves(groups, members, halves))
    scales = [
        _mean_and_deviation(outliers.centred(each, members)[1]) for each in (embeddings, white)
    ]
    result = []
    for at, second in halves.items():
        rows = members[at]
        apart = [outliers.centre_distance(each[rows], second) for each in (embeddings, white)]
        score = np.mean([(a - mean) / sd for a, (mean, sd) in zip(apart, scales, strict=True)])
        if score > _TWO_PEOPLE:
            result.append(outliers.Mixed(rows, rows[second], apart[0]))
    return result


def _half(group: np.ndarray) -> np.ndarray:
    """(n,) which of a group (n, D) may be a second person; (0,) where none is."""
    second = outliers.smaller_half(group)
    if outliers.are_halves(second) and _is_one_person(group, second):
        return second
    return np.empty(0, bool)


def _with_halves(
    groups: np.ndarray, members: list[np.ndarray], halves: dict[int, np.ndarray]
) -> np.ndarray:
    """The groups (N,), each half that may be a second person in one of its own.

    Otherwise the difference of two people would count as what varies in one.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    for number, (at, second) in enumerate(halves.items(), len(members)):
        codes[members[at][second]] = number
    return np.asarray(codes)


def _means(embeddings: Rows, members: list[np.ndarray]) -> np.ndarray:
    """The mean (G, D) of each group."""
    return np.stack([embeddings[rows].mean(axis=0) for rows in members])


def _is_one_person(group: np.ndarray, second: np.ndarray) -> bool:
    """Whether faces of the second part (n,) of a group (n, D) are nearer to each other."""
    inside, size = outliers.between(group[second], group[second]), int(second.sum())
    across = outliers.between(group[second], group[~second])
    return bool(inside.sum() / (size * (size - 1)) < across.mean())


def _mean_and_deviation(centres: np.ndarray) -> tuple[float, float]:
    """Of the distances of different groups, as a sample of at most _BLOCK of them shows.

    The nearest of them do not count for the deviation: of few people, the pairs that are one person
    would widen it.
    """
    some = np.unique(np.linspace(0, len(centres) - 1, min(_BLOCK, len(centres))).astype(int))
    apart = outliers.between(centres[some], centres[some])
    distances = np.sort(apart[np.triu_indices(len(some), 1)])
    others = distances[int(_NEAREST * len(some)) :]
    return float(np.median(distances)), max(float(others.std()), 1e-6)
