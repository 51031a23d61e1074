"""Find faces of wrong persons: compare embeddings with their own group and with others."""

from typing import Any, NamedTuple

import numpy as np

from refsr.io.arrays import Rows, blocks

# The z-score from which on a face is another person. It is well below 0 for the own group and about
# 0 for another one. Pose and light raise an image's distances to all groups alike.
_WRONG_PERSON = -1.9
_LEAST_GROUPS = 4  # other groups needed for a meaningful standard deviation
_HALF = 0.3  # least share of a folder's images that make a second person, not single outliers
_AXIS_ROUNDS = 10  # of power iteration
_ROUNDS = 10  # of 2-means
_TRIM = 95  # percentile of the distances within groups that are used; the rest are outliers
_SHRINK = 0.3  # of the covariance within groups, towards a multiple of the identity
_COHORT = 512  # most groups an image is compared with: mean and deviation need no more
_FLOOR = 1e-9  # least norm, and scale of a covariance


class Mixed(NamedTuple):
    """A group that holds two people."""

    rows: np.ndarray
    second: np.ndarray  # those of the smaller half
    apart: float  # distance between the centres of the halves


def fit(embeddings: Rows, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare each embedding with its own group and with others.

    The z-score is a test normalisation as in speaker verification (Auckenthaler et al. 2000). Of
    many groups some hundred stand for all, so that an image costs the same in a set of any size.

    Args:
        embeddings: (N, D).
        groups: (N,), the group of each.

    Returns:
        distance: (N,) Euclidean, for which dlib's network was trained, to the centre of the other
            images of the group; 0 for an image alone.
        z_score: (N,) that distance in standard deviations from the mean of the distances to other
            groups; -inf where there are too few groups.
    """
    members = rows_by_group(groups)
    distance, centres = centred(embeddings, members)
    codes = _codes(members)
    cohort = _cohort(len(members))
    z_score = np.full(len(codes), -np.inf)
    if len(members) > _LEAST_GROUPS:
        others = centres[cohort]
        for part in blocks(len(codes)):
            own = codes[part][:, None] == cohort
            z_score[part] = _z_scores(distance[part], embeddings[part], others, own)
    return distance, z_score


def distances(embeddings: Rows, groups: np.ndarray) -> np.ndarray:
    """The `distance` (N,) of `fit` alone."""
    return centred(embeddings, rows_by_group(groups))[0]


def centred(embeddings: Rows, members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The distance (N,) of each row to the centre of the others of its group; centres (G, D)."""
    distance = np.empty(len(embeddings))
    centres = []
    for rows in members:
        distance[rows], centre = _among(embeddings[rows])
        centres.append(centre)
    return distance, np.stack(centres)


def _among(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) -> the distance (n,) of each to the centre of the others, and the centre of all (D,).

    A centre is the mean of the half nearest to the medoid, so that outliers do not move it.
    """
    if len(group) == 1:
        return np.zeros(1), group[0]
    apart = between(group, group)
    np.fill_diagonal(apart, 0)
    total = apart.sum(axis=1)
    order = np.argsort(apart[total.argmin()], kind="stable")
    centre = group[order[: (len(group) + 1) // 2]].mean(axis=0)
    if len(group) == 3:  # one of two others may be an outlier, then the nearer one is not
        np.fill_diagonal(apart, np.inf)
        return apart.min(axis=1), centre
    without = total[None] - apart  # [left out, medoid]
    np.fill_diagonal(without, np.inf)
    others, medoids = np.empty_like(group), without.argmin(axis=1)
    for medoid in np.unique(medoids):
        left_out, order = (
            np.flatnonzero(medoids == medoid),
            np.argsort(apart[medoid], kind="stable"),
        )
        others[left_out] = _centres_without(group, order, left_out)
    return np.linalg.norm(group - others, axis=1), centre


def _centres_without(group: np.ndarray, order: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """(m, D): without each of the m left out, the mean of the first half in this order."""
    half = len(group) // 2
    whole = group[order[:half]].sum(axis=0, dtype=np.float64)
    inside = np.isin(left_out, order[:half])[:, None]
    without = whole + group[order[half]] - group[left_out]
    return np.asarray(np.where(inside, without, whole) / half)


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances from each of a (N, D) to each of b (M, D): (N, M) float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    squares -= 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0, out=squares), out=squares))


def _z_scores(
    distance: np.ndarray,
    embeddings: np.ndarray,
    others: np.ndarray,
    own: np.ndarray,
) -> np.ndarray:
    """Distances (n,) in deviations from the mean of those to the others (M, D).

    Pairs of an image and a group at which `own` (n, M) is true do not count.
    """
    to_others = between(embeddings, others)
    count = (~own).sum(axis=1)
    to_others[own] = 0
    mean = to_others.sum(axis=1) / count
    to_others -= mean[:, None]
    to_others[own] = 0
    deviation = np.sqrt((to_others**2).sum(axis=1) / count)
    return np.asarray((distance - mean) / np.maximum(deviation, 1e-6))


def _cohort(groups: int) -> np.ndarray:
    """The groups that stand for all, evenly spaced."""
    count = min(groups, _COHORT)
    return np.unique(np.linspace(0, groups - 1, count).astype(np.int64))


def wrong_persons(embeddings: Rows, groups: np.ndarray, max_distance: float) -> np.ndarray:
    """(N,) whether each embedding is of another person than its group.

    Either it is more than `max_distance` from the group's centre, or, whitened, hardly nearer to
    it than to the other groups.
    """
    _, z_score = fit(whitened(embeddings, groups), groups)
    return (distances(embeddings, groups) > max_distance) | (z_score > _WRONG_PERSON)


def mixed(embeddings: Rows, groups: np.ndarray, max_distance: float) -> list[Mixed]:
    """Find groups that hold two people, each about half.

    Each group is split in two by 2-means. It is mixed where the centres of the halves are more than
    `max_distance` apart, or the halves differ as much as groups of different people do.
    """
    members = rows_by_group(groups)
    # Few groups do not show what varies within a group: a mixed one would dominate.
    white = whitened(embeddings, groups) if len(members) > _LEAST_GROUPS else embeddings
    centres = centred(white, members)[1]
    cohort = _cohort(len(members))
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
        along = centred @ _unit((along @ centred)[None])[0]
    return np.asarray(along)


def _are_two_people(group: np.ndarray, second: np.ndarray, others: np.ndarray) -> bool:
    """Whether the images of each half are on average of another person than the other half."""
    if len(others) < _LEAST_GROUPS:
        return False
    scores = []
    for half in (second, ~second):
        distance = np.linalg.norm(group[half] - group[~half].mean(axis=0), axis=1)
        own = np.zeros((int(half.sum()), len(others)), bool)
        scores.append(_z_scores(distance, group[half], others, own).mean())
    return bool(max(scores) > _WRONG_PERSON and min(scores) > 2 * _WRONG_PERSON)


class Whitened:
    """Whitened embeddings, computed for the rows that are requested."""

    def __init__(self, embeddings: Rows, mean: np.ndarray, matrix: np.ndarray) -> None:
        self._embeddings, self._mean, self._matrix = embeddings, mean, matrix

    def __len__(self) -> int:
        return len(self._embeddings)

    def __getitem__(self, rows: Any) -> np.ndarray:
        centred = _unit(self._embeddings[rows] - self._mean)
        return _unit((centred @ self._matrix).astype(np.float32))


def whitened(embeddings: Rows, groups: np.ndarray) -> Rows:
    """Reduce what varies within groups in embeddings (N, D), mainly pose and light.

    Embeddings are centred, scaled to unit length, whitened by the covariance within groups (Hatch
    et al. 2006), which is shrunk since groups are few, and scaled to unit length again
    (Garcia-Romero and Espy-Wilson 2011).
    """
    mean = _mean(embeddings)
    within = _covariance_within(embeddings, rows_by_group(groups), mean)
    size = len(within)
    scale = max(float(np.trace(within)) / size, _FLOOR)
    shrunk = (1 - _SHRINK) * within + _SHRINK * scale * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    return Whitened(embeddings, mean, vectors / np.sqrt(values))


def _mean(embeddings: Rows) -> np.ndarray:
    """(D,) float32."""
    sums = (embeddings[part].sum(axis=0, dtype=np.float64) for part in blocks(len(embeddings)))
    total = np.float64(0) + sum(sums)
    return np.asarray(total / len(embeddings), np.float32)


def _covariance_within(embeddings: Rows, members: list[np.ndarray], mean: np.ndarray) -> np.ndarray:
    """The covariance (D, D) within groups, without the outliers beyond a percentile."""
    norms = [np.linalg.norm(_residuals(embeddings[rows], mean), axis=1) for rows in members]
    most = np.percentile(np.concatenate(norms), _TRIM)
    within, used = np.zeros((len(mean), len(mean))), 0
    for rows in members:
        rest = _residuals(embeddings[rows], mean)
        rest = rest[np.linalg.norm(rest, axis=1) <= most].astype(np.float64)
        within, used = within + rest.T @ rest, used + len(rest)
    return within / used


def _residuals(group: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """A group's embeddings, centred and of unit length, minus the group's centre."""
    unit = _unit(group - mean)
    return np.asarray(unit - _among(unit)[1])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1)[:, None], _FLOOR))


def rows_by_group(groups: np.ndarray) -> list[np.ndarray]:
    """The rows of each group, ascending."""
    codes = np.unique(groups, return_inverse=True)[1]
    ends = np.cumsum(np.bincount(codes))
    return np.split(np.argsort(codes, kind="stable"), ends[:-1])


def _codes(members: list[np.ndarray]) -> np.ndarray:
    """The number of each row's group."""
    codes = np.empty(sum(map(len, members)), np.int64)
    for code, rows in enumerate(members):
        codes[rows] = code
    return codes
