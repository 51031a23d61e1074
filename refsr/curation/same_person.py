"""Whether mean faces are of one person, by how far apart the people of the set are.

One person under two names: identities of different splits whose mean faces are near. Two people
under one name: a folder whose halves are not near.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from refsr.curation import mixed_folders, outliers
from refsr.curation.selection import mark
from refsr.dataset.schema import SPLITS
from refsr.io.arrays import Chosen, Rows

# Deviations below the mean distance of two people of the set from which on two identities are one
# person.
_ONE_PERSON = -4.25
_OF_PEOPLE = 100  # to which this belongs; in larger sets more pairs are near by chance
# What it changes by with ten times the people, in larger sets and in smaller ones. About as many
# pairs of a smaller set are near by chance as of a normal distribution.
_PER_DECADE, _PER_DECADE_BELOW = -0.45, -0.9
# The same, from which on the halves of a folder are two people; the mean of those of embeddings
# and of whitened ones.
_TWO_PEOPLE = -2.9
_LEAST_PEOPLE = 8  # needed for a meaningful deviation
_NEAREST = 0.125  # pairs for each person that may be one person
_BLOCK = 512  # identities compared with all others at a time


class _People(NamedTuple):
    """G mean faces."""

    means: np.ndarray  # (G, D)
    error: np.ndarray  # (G,) squared distance to expect from the mean of endless images


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
    people = _people(embeddings, members)
    mean, deviation = _mean_and_deviation(_apart(*[_sample(people)] * 2))
    decades = np.log10(len(members) / _OF_PEOPLE)
    least = _ONE_PERSON + decades * (_PER_DECADE if decades > 0 else _PER_DECADE_BELOW)
    result = []
    for start in range(0, len(members), _BLOCK):
        some = _People(*(each[start : start + _BLOCK] for each in people))
        scores = (_apart(some, people) - mean) / deviation
        near, other = np.nonzero(scores < least)
        for a, b in zip(near.tolist(), other.tolist(), strict=True):
            if start + a < b:
                result.append((start + a, b, float(scores[a, b])))
    return result


def mixed(embeddings: Rows, groups: np.ndarray, max_distance: float) -> list[mixed_folders.Mixed]:
    """`mixed_folders.mixed` by the distances of the set's people; by a limit where they are few.

    Args:
        embeddings: (N, D).
        groups: (N,) the group of each.
        max_distance: That limit, as for `mixed_folders.mixed`.
    """
    members = outliers.rows_by_group(groups)
    if len(members) < _LEAST_PEOPLE:
        return mixed_folders.mixed(embeddings, groups, max_distance)
    halves = {
        at: second for at, rows in enumerate(members) if len(second := _half(embeddings[rows]))
    }
    white = outliers.whitened(embeddings, _with_halves(groups, members, halves))
    centres = [outliers.centred(each, members)[1] for each in (embeddings, white)]
    some = _spaced(len(members))
    scales = [_mean_and_deviation(outliers.between(each[some], each[some])) for each in centres]
    result = []
    for at, second in halves.items():
        rows = members[at]
        apart = [mixed_folders.centre_distance(each[rows], second) for each in (embeddings, white)]
        score = np.mean([(a - mean) / sd for a, (mean, sd) in zip(apart, scales, strict=True)])
        if score > _TWO_PEOPLE:
            result.append(mixed_folders.Mixed(rows, rows[second], apart[0]))
    return result


def _half(group: np.ndarray) -> np.ndarray:
    """(n,) which of a group (n, D) may be a second person; (0,) where none is."""
    second = mixed_folders.smaller_half(group)
    if mixed_folders.are_halves(second) and _is_one_person(group, second):
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


def _people(embeddings: Rows, members: list[np.ndarray]) -> _People:
    """Wrong persons are left out already, so that all images count: more vary less."""
    means, scatter = [], 0.0
    for rows in members:
        group = embeddings[rows].astype(np.float64)
        means.append(group.mean(axis=0))
        scatter += float(((group - means[-1]) ** 2).sum())
    sizes = np.array([len(rows) for rows in members])
    within = scatter / max(1, int((sizes - 1).sum()))
    return _People(np.stack(means), within / sizes)


def _sample(people: _People) -> _People:
    return _People(*(each[_spaced(len(people.means))] for each in people))


def _spaced(count: int) -> np.ndarray:
    """At most _BLOCK of so many rows, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(_BLOCK, count)).astype(int))


def _apart(some: _People, others: _People) -> np.ndarray:
    """Distances (A, B) of people, without what the means of few images are apart by chance.

    Otherwise two people of few images would count as farther apart than two of many.
    """
    squares = outliers.between(some.means, others.means) ** 2
    squares -= some.error[:, None] + others.error
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def _is_one_person(group: np.ndarray, second: np.ndarray) -> bool:
    """Whether faces of the second part (n,) of a group (n, D) are nearer to each other."""
    inside, size = outliers.between(group[second], group[second]), int(second.sum())
    across = outliers.between(group[second], group[~second])
    return bool(inside.sum() / (size * (size - 1)) < across.mean())


def _mean_and_deviation(apart: np.ndarray) -> tuple[float, float]:
    """Of the distances (A, A) of different groups.

    The nearest of them do not count for the deviation: of few people, the pairs that are one person
    would widen it.
    """
    distances = np.sort(apart[np.triu_indices(len(apart), 1)])
    others = distances[int(_NEAREST * len(apart)) :]
    return float(np.median(distances)), max(float(others.std()), 1e-6)
