"""Whose face is it, and is it one: embeddings held against their own group, all other groups, and what is no face."""

import numpy as np

# In standard deviations of an image's distances to the other groups. A face lies well below 0 from its own group, a
# stranger about 0, whatever the pose or light of the image, which raise its distances to all groups alike.
_STRANGER = -1.9
_DOUBTFUL = -3.0
_LEAST_GROUPS = 4  # others needed for a standard deviation to mean something
_FACE = -0.15  # likeness to a face: faces are taught 1, what is no face -1
_HALF = 0.3  # least share of a folder's images that make a second person, not strangers one by one
_ROUNDS = 10  # of 2-means
_TRIM = 95  # percentile of the distances within groups up to which they are taken for those of one person
_SHRINK = 0.3
_RIDGE = 1e-3
_BLOCK = 4096


def fit(embeddings: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """embeddings (N, D) and the group of each -> (distance, strangeness), (N,) each.

    `distance` is Euclidean, as dlib's network was trained, to the centre of the others in the group (0 for one alone);
    `strangeness` is that distance in standard deviations from the mean of those to all other groups, a test
    normalisation as in speaker verification (Auckenthaler et al. 2000); -inf where there are too few other groups.
    """
    members = _rows_by_group(groups)
    codes = np.empty(len(groups), np.int64)
    distance = np.empty(len(groups))
    centres = np.empty((len(members), embeddings.shape[1]), np.float32)
    for code, rows in enumerate(members):
        codes[rows] = code
        distance[rows], centres[code] = _among(embeddings[rows])
    strangeness = np.full(len(codes), -np.inf)
    if len(members) > _LEAST_GROUPS:
        for start in range(0, len(codes), _BLOCK):
            part = slice(start, start + _BLOCK)
            mean, spread = _to_others(embeddings[part], centres, codes[part])
            strangeness[part] = (distance[part] - mean) / np.maximum(spread, 1e-6)
    return distance, strangeness


def _among(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) -> each one's distance to the centre of the others (n,), and the centre of all (D,).

    A centre is the mean of the half nearest to the medoid, so that strangers do not move it.
    """
    between = np.linalg.norm(group[:, None] - group[None], axis=2)
    everyone = np.arange(len(group))
    if len(group) == 1:
        return np.zeros(1), group[0]
    others = [_centre(group, between, np.delete(everyone, row)) for row in everyone]
    return np.linalg.norm(group - np.stack(others), axis=1), _centre(group, between, everyone)


def _centre(group: np.ndarray, between: np.ndarray, rows: np.ndarray) -> np.ndarray:
    medoid = rows[between[np.ix_(rows, rows)].sum(axis=1).argmin()]
    nearest = rows[np.argsort(between[medoid, rows], kind="stable")]
    return np.asarray(group[nearest[: (len(rows) + 1) // 2]].mean(axis=0))


def _to_others(embeddings: np.ndarray, centres: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each embedding's distances to all centres but its own group's."""
    distances = _distances(embeddings, centres)
    distances[np.arange(len(codes)), codes] = np.nan
    return np.nanmean(distances, axis=1), np.nanstd(distances, axis=1)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, D), (M, D) -> (N, M) float64, Euclidean."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float64)


def strangers(embeddings: np.ndarray, groups: np.ndarray, max_distance: float) -> np.ndarray:
    """(N,) whether each is another person than its group: too far from it, or hardly nearer to it than to any other.

    The second is asked of whitened embeddings.
    """
    distance, _ = fit(embeddings, groups)
    _, strangeness = fit(whitened(embeddings, groups), groups)
    return (distance > max_distance) | (strangeness > _STRANGER)


def mixed(embeddings: np.ndarray, groups: np.ndarray, max_distance: float) -> dict[str, tuple[float, np.ndarray]]:
    """Groups that hold two people, each about half: how far apart they are, and which rows are the smaller half.

    Each group is cut in two (2-means); it is mixed where the halves, held to be groups of their own, are as strange to
    one another as people of different groups are, or further apart than `max_distance`, the distance of their centres.
    """
    members = _rows_by_group(groups)
    # Of few groups it is not known what varies within them, and a mixed one would be taken for the rule.
    white = whitened(embeddings, groups) if len(members) > _LEAST_GROUPS else embeddings
    centres = np.stack([_among(white[rows])[1] for rows in members])
    found = {}
    for code, rows in enumerate(members):
        second = _cut(white[rows])
        if not _HALF * len(rows) <= second.sum() <= len(rows) - 2 or second.sum() < 2:
            continue
        halves = rows[~second], rows[second]
        raw, cut = (np.stack([values[half].mean(axis=0) for half in halves]) for values in (embeddings, white))
        apart = float(np.linalg.norm(raw[0] - raw[1]))
        if apart > max_distance or _strange_halves(white, halves, cut, np.delete(centres, code, axis=0)):
            found[str(groups[rows[0]])] = apart, halves[1]
    return found


def _cut(group: np.ndarray) -> np.ndarray:
    """(n, D) -> (n,) which belong to the smaller of the two parts that 2-means finds from the longest axis."""
    centred = group - group.mean(axis=0)
    side = centred @ np.linalg.svd(centred, full_matrices=False)[2][0] > 0
    for _ in range(_ROUNDS):
        if side.all() or not side.any():
            return np.zeros(len(group), bool)
        centres = group[~side].mean(axis=0), group[side].mean(axis=0)
        side = np.linalg.norm(group - centres[1], axis=1) < np.linalg.norm(group - centres[0], axis=1)
    return np.asarray(side if 2 * side.sum() <= len(side) else ~side)


def _strange_halves(
    white: np.ndarray, halves: tuple[np.ndarray, np.ndarray], centres: np.ndarray, others: np.ndarray
) -> bool:
    """Whether the images of each half are, in the mean, strangers to the other half."""
    if len(others) < _LEAST_GROUPS:
        return False
    strangeness = []
    for half, other in zip(halves, centres[::-1], strict=True):
        usual = _distances(white[half], others)
        distance = np.linalg.norm(white[half] - other, axis=1)
        strangeness.append(float(((distance - usual.mean(axis=1)) / np.maximum(usual.std(axis=1), 1e-6)).mean()))
    return max(strangeness) > _STRANGER and min(strangeness) > 2 * _STRANGER


def whitened(embeddings: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) without what varies within groups, pose and light above all.

    They are centred, brought to unit length, whitened by the covariance within groups (Hatch et al. 2006), shrunk as
    groups are few, and brought to unit length again (Garcia-Romero and Espy-Wilson 2011).
    """
    unit = _unit(embeddings - embeddings.mean(axis=0))
    rest = np.concatenate([unit[rows] - _among(unit[rows])[1] for rows in _rows_by_group(groups)])
    size = np.linalg.norm(rest, axis=1)
    rest = rest[size <= np.percentile(size, _TRIM)].astype(np.float64)
    within = rest.T @ rest / len(rest)
    mean = max(float(np.trace(within)) / len(within), 1e-9)
    values, vectors = np.linalg.eigh((1 - _SHRINK) * within + _SHRINK * mean * np.eye(len(within)))
    return _unit(np.asarray(unit @ (vectors / np.sqrt(values)), np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _rows_by_group(groups: np.ndarray) -> list[np.ndarray]:
    codes = np.unique(groups, return_inverse=True)[1]
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def faceless(
    embeddings: np.ndarray, background: np.ndarray, distance: np.ndarray, strangeness: np.ndarray
) -> np.ndarray:
    """(N,) whether each shows no face: unlike its group, and more like the `background` embeddings (M, D) than a face.

    What is no face is learnt from the images themselves, whose corners are background, by ridge regression.
    """
    both = np.concatenate([embeddings, background]).astype(np.float64)
    weight = np.repeat([1 / len(embeddings), 1 / max(1, len(background))], [len(embeddings), len(background)])
    target = np.repeat([1.0, -1.0], [len(embeddings), len(background)])
    design = np.column_stack([both, np.ones(len(both))])
    gram = (design * weight[:, None]).T @ design + _RIDGE * np.eye(design.shape[1])
    likeness = design[: len(embeddings)] @ np.linalg.solve(gram, design.T @ (weight * target))
    doubtful = (strangeness > _DOUBTFUL) | (np.isneginf(strangeness) & (distance > np.median(distance)))
    return np.asarray(doubtful & (likeness < _FACE))
