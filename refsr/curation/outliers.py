"""Find faces of wrong persons: compare embeddings with their own group and with others."""

from typing import Any

import numpy as np

from refsr.io.arrays import Rows, blocks

# The z-score from which on a face is another person. It is well below 0 for the own group and about
# 0 for another one. Pose and light raise an image's distances to all groups alike.
WRONG_PERSON = -1.9
# A face in profile is less like all others, those of its own person too: what its z-score grows by
# per degree of yaw beyond this many. Fitted on photos: docs/curation.md.
_PROFILE, _PER_DEGREE = 20.0, 0.065
LEAST_GROUPS = 4  # other groups needed for a meaningful standard deviation
_TRIM = 95  # percentile of the distances within groups that are used; the rest are outliers
_SHRINK = 0.3  # of the covariance within groups, towards a multiple of the identity
_COHORT = 512  # most groups an image is compared with: mean and deviation need no more
_FLOOR = 1e-9  # least norm, and scale of a covariance


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
    cohort = cohort_of(len(members))
    z_score = np.full(len(codes), -np.inf)
    if len(members) > LEAST_GROUPS:
        others = centres[cohort]
        for part in blocks(len(codes)):
            own = codes[part][:, None] == cohort
            z_score[part] = z_scores(distance[part], embeddings[part], others, own)
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


def z_scores(
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


def cohort_of(groups: int) -> np.ndarray:
    """The groups that stand for all, evenly spaced."""
    count = min(groups, _COHORT)
    return np.unique(np.linspace(0, groups - 1, count).astype(np.int64))


def wrong_persons(
    embeddings: Rows, groups: np.ndarray, yaw: np.ndarray, max_distance: float
) -> np.ndarray:
    """(N,) whether each embedding is of another person than its group.

    Either it is more than `max_distance` from the group's centre, or, whitened, hardly nearer to
    it than to the other groups; the more the head is turned, the less near it has to be.

    Args:
        embeddings: (N, D).
        groups: (N,) the group of each.
        yaw: (N,) of the head, in degrees; NaN where it is unknown.
        max_distance: Euclidean, between embeddings.
    """
    _, z_score = fit(whitened(embeddings, groups), groups)
    turned = np.maximum(np.nan_to_num(np.abs(yaw)) - _PROFILE, 0.0)
    most = WRONG_PERSON + _PER_DEGREE * turned
    return np.asarray((distances(embeddings, groups) > max_distance) | (z_score > most))


class Whitened:
    """Whitened embeddings, computed for the rows that are requested."""

    def __init__(self, embeddings: Rows, mean: np.ndarray, matrix: np.ndarray) -> None:
        self._embeddings, self._mean, self._matrix = embeddings, mean, matrix

    def __len__(self) -> int:
        return len(self._embeddings)

    def __getitem__(self, rows: Any) -> np.ndarray:
        centred = unit(self._embeddings[rows] - self._mean)
        return unit((centred @ self._matrix).astype(np.float32))


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
    scaled = unit(group - mean)
    return np.asarray(scaled - _among(scaled)[1])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D), scaled to length 1."""
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
