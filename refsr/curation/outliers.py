"""Whose face is it: embeddings held against their own group and all other groups."""

from typing import Any, NamedTuple

import numpy as np

from refsr.io.arrays import Rows, blocks

# In standard deviations of an image's distances to the other groups. A face lies well below 0 from its own group, a
# stranger about 0, whatever the pose or light of the image, which raise its distances to all groups alike.
_STRANGER = -1.9
_LEAST_GROUPS = 4  # others needed for a standard deviation to mean something
_HALF = 0.3  # least share of a folder's images that make a second person, not strangers one by one
_AXIS_ROUNDS = 10  # of power iteration
_ROUNDS = 10  # of 2-means
_TRIM = 95  # percentile of the distances within groups up to which they are taken for those of one person
_SHRINK = 0.3
_COHORT = 512  # other groups an image is held against at most: a mean and a deviation need no more


class Mixed(NamedTuple):
    """A group that holds two people."""

    rows: np.ndarray
    second: np.ndarray  # of these, the rows of the smaller half
    apart: float  # distance of the centres of the halves


def fit(embeddings: Rows, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """embeddings (N, D) and the group of each -> (distance, strangeness), (N,) each.

    `distance` is Euclidean, as dlib's network was trained, to the centre of the others in the group (0 for one alone);
    `strangeness` is that distance in standard deviations from the mean of those to other groups, a test normalisation
    as in speaker verification (Auckenthaler et al. 2000); -inf where there are too few other groups. Of many groups
    some hundred stand for all, so that an image costs the same in a set of any size.
    """
    members = _rows_by_group(groups)
    distance, centres = _centred(embeddings, members)
    codes = _codes(members)
    cohort = _cohort(len(members))
    strangeness = np.full(len(codes), -np.inf)
    if len(members) > _LEAST_GROUPS:
        others = centres[cohort]
        for part in blocks(len(codes)):
            own = codes[part][:, None] == cohort
            strangeness[part] = _strangeness(distance[part], embeddings[part], others, own)
    return distance, strangeness


def distances(embeddings: Rows, groups: np.ndarray) -> np.ndarray:
    """(N,), the first of what `fit` tells, by itself."""
    return _centred(embeddings, _rows_by_group(groups))[0]


def _centred(embeddings: Rows, members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each of N rows to the centre of the others of its group (N,), and the centres (G, D)."""
    distance = np.empty(len(embeddings))
    centres = []
    for rows in members:
        distance[rows], centre = _among(embeddings[rows])
        centres.append(centre)
    return distance, np.stack(centres)


def _among(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) -> each one's distance to the centre of the others (n,), and the centre of all (D,).

    A centre is the mean of the half nearest to the medoid, so that strangers do not move it.
    """
    if len(group) == 1:
        return np.zeros(1), group[0]
    between = _distances(group, group)
    np.fill_diagonal(between, 0)
    total = between.sum(axis=1)
    without = total[None] - between  # [left out, medoid]
    np.fill_diagonal(without, np.inf)
    others = np.empty_like(group)
    medoids = without.argmin(axis=1)
    for medoid in np.unique(medoids):
        left_out = np.flatnonzero(medoids == medoid)
        others[left_out] = _centres_without(group, np.argsort(between[medoid], kind="stable"), left_out)
    nearest = np.argsort(between[total.argmin()], kind="stable")[: (len(group) + 1) // 2]
    return np.linalg.norm(group - others, axis=1), group[nearest].mean(axis=0)


def _centres_without(group: np.ndarray, order: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """(m, D): the mean of the nearer half, in this order, of all but each of the m left out."""
    half = len(group) // 2
    whole = group[order[:half]].sum(axis=0, dtype=np.float64)
    inside = np.isin(left_out, order[:half])[:, None]
    return np.asarray(np.where(inside, whole + group[order[half]] - group[left_out], whole) / half)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean, of each of a (N, D) to each of b (M, D): (N, M) float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    squares -= 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0, out=squares), out=squares))


def _strangeness(distance: np.ndarray, embeddings: np.ndarray, others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(n,) distances in deviations from the mean of those to the others (M, D), but where `own` (n, M) is true."""
    usual = _distances(embeddings, others)
    count = (~own).sum(axis=1)
    usual[own] = 0
    mean = usual.sum(axis=1) / count
    usual -= mean[:, None]
    usual[own] = 0
    spread = np.sqrt((usual**2).sum(axis=1) / count)
    return np.asarray((distance - mean) / np.maximum(spread, 1e-6))


def _cohort(groups: int) -> np.ndarray:
    """The groups that stand for all, evenly from among them."""
    return np.unique(np.linspace(0, groups - 1, min(groups, _COHORT)).astype(np.int64))


def strangers(embeddings: Rows, groups: np.ndarray, max_distance: float) -> np.ndarray:
    """(N,) whether each is another person than its group: too far from it, or hardly nearer to it than to any other.

    The second is asked of whitened embeddings.
    """
    _, strangeness = fit(whitened(embeddings, groups), groups)
    return (distances(embeddings, groups) > max_distance) | (strangeness > _STRANGER)


def mixed(embeddings: Rows, groups: np.ndarray, max_distance: float) -> list[Mixed]:
    """Groups that hold two people, each about half.

    Each group is cut in two (2-means); it is mixed where the halves, held to be groups of their own, are as strange to
    one another as people of different groups are, or further apart than `max_distance`, the distance of their centres.
    """
    members = _rows_by_group(groups)
    # Of few groups it is not known what varies within them, and a mixed one would be taken for the rule.
    white = whitened(embeddings, groups) if len(members) > _LEAST_GROUPS else embeddings
    centres = _centred(white, members)[1]
    cohort = _cohort(len(members))
    found = []
    for code, rows in enumerate(members):
        group = white[rows]
        second = _cut(group)
        if not _HALF * len(rows) <= second.sum() <= len(rows) - 2 or second.sum() < 2:
            continue
        plain = embeddings[rows]
        apart = float(np.linalg.norm(plain[second].mean(axis=0) - plain[~second].mean(axis=0)))
        if apart > max_distance or _strange_halves(group, second, centres[cohort[cohort != code]]):
            found.append(Mixed(rows, rows[second], apart))
    return found


def _cut(group: np.ndarray) -> np.ndarray:
    """(n, D) -> (n,) which belong to the smaller of the two parts that 2-means finds from the longest axis."""
    side = _along_longest_axis(group - group.mean(axis=0)) > 0
    for _ in range(_ROUNDS):
        if side.all() or not side.any():
            return np.zeros(len(group), bool)
        first, second = group[~side].mean(axis=0), group[side].mean(axis=0)
        # Nearer to the second, by the plane between the two.
        moved = group @ (second - first) > (second @ second - first @ first) / 2
        if (moved == side).all():
            break
        side = moved
    return np.asarray(side if 2 * side.sum() <= len(side) else ~side)


def _along_longest_axis(centred: np.ndarray) -> np.ndarray:
    """(n, D) about 0 -> (n,) coordinates on nearly the axis along which they vary most, by power iteration."""
    along = centred @ centred[(centred**2).sum(axis=1).argmax()]
    for _ in range(_AXIS_ROUNDS):
        along = centred @ _unit((along @ centred)[None])[0]
    return np.asarray(along)


def _strange_halves(group: np.ndarray, second: np.ndarray, others: np.ndarray) -> bool:
    """Whether the images of each half are, in the mean, strangers to the other half."""
    if len(others) < _LEAST_GROUPS:
        return False
    strangeness = []
    for half in (second, ~second):
        distance = np.linalg.norm(group[half] - group[~half].mean(axis=0), axis=1)
        own = np.zeros((int(half.sum()), len(others)), bool)
        strangeness.append(_strangeness(distance, group[half], others, own).mean())
    return bool(max(strangeness) > _STRANGER and min(strangeness) > 2 * _STRANGER)


class Whitened:
    """Embeddings without what varies within groups, worked out for the rows that are asked for."""

    def __init__(self, embeddings: Rows, mean: np.ndarray, matrix: np.ndarray) -> None:
        self._embeddings, self._mean, self._matrix = embeddings, mean, matrix

    def __len__(self) -> int:
        return len(self._embeddings)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return _unit((_unit(self._embeddings[rows] - self._mean) @ self._matrix).astype(np.float32))


def whitened(embeddings: Rows, groups: np.ndarray) -> Rows:
    """Embeddings (N, D) without what varies within groups, pose and light above all.

    They are centred, brought to unit length, whitened by the covariance within groups (Hatch et al. 2006), shrunk as
    groups are few, and brought to unit length again (Garcia-Romero and Espy-Wilson 2011).
    """
    total = np.float64(0) + sum(embeddings[part].sum(axis=0, dtype=np.float64) for part in blocks(len(embeddings)))
    mean = np.asarray(total / len(embeddings), np.float32)
    members = _rows_by_group(groups)
    size = np.concatenate([np.linalg.norm(_rest(embeddings[rows], mean), axis=1) for rows in members])
    most = np.percentile(size, _TRIM)
    within, used = np.zeros((len(mean), len(mean))), 0
    for rows in members:
        rest = _rest(embeddings[rows], mean)
        rest = rest[np.linalg.norm(rest, axis=1) <= most].astype(np.float64)
        within, used = within + rest.T @ rest, used + len(rest)
    within /= used
    scale = max(float(np.trace(within)) / len(within), 1e-9)
    values, vectors = np.linalg.eigh((1 - _SHRINK) * within + _SHRINK * scale * np.eye(len(within)))
    return Whitened(embeddings, mean, vectors / np.sqrt(values))


def _rest(group: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What is left of a group's embeddings, of unit length about the mean of all, without its centre."""
    unit = _unit(group - mean)
    return np.asarray(unit - _among(unit)[1])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _rows_by_group(groups: np.ndarray) -> list[np.ndarray]:
    codes = np.unique(groups, return_inverse=True)[1]
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def _codes(members: list[np.ndarray]) -> np.ndarray:
    """The number of each row's group."""
    codes = np.empty(sum(map(len, members)), np.int64)
    for code, rows in enumerate(members):
        codes[rows] = code
    return codes
