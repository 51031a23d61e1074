"""Find folders that hold two people: split their embeddings in two, and compare the halves."""

from typing import NamedTuple

import numpy as np

from refsr.curation import outliers
from refsr.io.arrays import Rows

_HALF = 0.3  # least share of a folder's images that make a second person, not single outliers
_AXIS_ROUNDS = 10  # of power iteration
_ROUNDS = 10  # of 2-means


class Mixed(NamedTuple):
    """A group that holds two people."""

    rows: np.ndarray
    second: np.ndarray  # those of the smaller half
    apart: float  # distance between the centres of the halves


def mixed(embeddings: Rows, groups: np.ndarray, max_distance: float) -> list[Mixed]:
    """Find groups that hold two people, each about half.

    Each group is split in two by 2-means. It is mixed where the centres of the halves are more than
    `max_distance` apart, or the halves differ as much as groups of different people do.
    """
    members = outliers.rows_by_group(groups)
    # Few groups do not show what varies within a group: a mixed one would dominate.
    are_many = len(members) > outliers.LEAST_GROUPS
    white = outliers.whitened(embeddings, groups) if are_many else embeddings
    centres = outliers.centred(white, members)[1]
    cohort = outliers.cohort_of(len(members))
    result = []
    for code, rows in enumerate(members):
        group = white[rows]
        second = smaller_half(group)
        if not are_halves(second):
            continue
        apart = centre_distance(embeddings[rows], second)
        others = centres[cohort[cohort != code]]
        if apart > max_distance or _are_two_people(group, second, others):
            result.append(Mixed(rows, rows[second], apart))
    return result


def are_halves(second: np.ndarray) -> bool:
    """Whether the smaller part is large enough to be a second person."""
    total, size = len(second), second.sum()
    return bool(_HALF * total <= size <= total - 2 and size >= 2)


def centre_distance(group: np.ndarray, second: np.ndarray) -> float:
    """The distance between the centres of the two parts of a group (n, D)."""
    difference = group[second].mean(axis=0) - group[~second].mean(axis=0)
    return float(np.linalg.norm(difference))


def smaller_half(group: np.ndarray) -> np.ndarray:
    """(n, D) -> (n,) which belong to the smaller of two parts by 2-means.

    It starts from the two sides of the longest axis.
    """
    side = _along_longest_axis(group - group.mean(axis=0)) > 0
    for _ in range(_ROUNDS):
        if side.all() or not side.any():
            return np.zeros(len(group), bool)
        first, second = group[~side].mean(axis=0), group[side].mean(axis=0)
        # Nearer to the second: beyond the plane between the two.
        moved = group @ (second - first) > (second @ second - first @ first) / 2
        if (moved == side).all():
            break
        side = moved
    return np.asarray(side if 2 * side.sum() <= len(side) else ~side)


def _along_longest_axis(centred: np.ndarray) -> np.ndarray:
    """Centred (n, D) -> (n,) coordinates on about the axis of most variance, by power iteration."""
    along = centred @ centred[(centred**2).sum(axis=1).argmax()]
    for _ in range(_AXIS_ROUNDS):
        along = centred @ outliers.unit((along @ centred)[None])[0]
    return np.asarray(along)


def _are_two_people(group: np.ndarray, second: np.ndarray, others: np.ndarray) -> bool:
    """Whether the images of each half are on average of another person than the other half."""
    if len(others) < outliers.LEAST_GROUPS:
        return False
    scores = []
    for half in (second, ~second):
        distance = np.linalg.norm(group[half] - group[~half].mean(axis=0), axis=1)
        own = np.zeros((int(half.sum()), len(others)), bool)
        scores.append(outliers.z_scores(distance, group[half], others, own).mean())
    return bool(max(scores) > outliers.WRONG_PERSON and min(scores) > 2 * outliers.WRONG_PERSON)
