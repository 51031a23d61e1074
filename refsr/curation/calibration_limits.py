"""Propose limits of `curate` for a raw set from the distributions of a sample of it.

Estimates, and what they assume:

- Another person's face: every face is compared with folders of other people, drawn at random. Of
  the distances within folders a share is of wrong labels, so that their distribution is a mixture
  of that of right ones and that between folders. Its share follows from how many distances within
  folders are as large as most between them, which those of right ones hardly ever are.
- A blurred image, a copy: crops of the sample are blurred, and copied with small changes.
- No face: faces that do not fit their folder stand for the wrong ones.

A limit minimises the share of good images lost plus that of bad ones kept, and loses at most `LOST`
of the good ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from refsr.config import Curate
from refsr.curation import duplicates, hash_search, outliers
from refsr.curation.calibration import BLUR, Sample

LOST = 0.01  # of the good images, at most, by one limit
_STEPS = 400  # limits that are tried
_NEAR_LEAST = 0.002  # errors so near to the least count as equal: their middle is taken
_OTHERS = 16  # folders of other people that a face is compared with
_MOVED = 0.05  # of the faces, moved to other folders to try a limit
_CLEARLY = BLUR[1]  # a blur for which images that are as soft are taken
_SOFT = 0.05  # the most images that are taken for so
_ABOVE = (10, 25, 50, 75)  # percentiles of bad images, above which good ones are rare
_DECIMALS = 3
_HASH_BITS = range(2, 17)  # of 64, that may be proposed
_ENOUGH_COPIES, _COPIES = 0.95, 0.98  # by their hashes: while the limit stays, and a new one
_FEW = 10  # images with a probability below _CERTAIN that say something
_CERTAIN = 0.99
_FITS = 95  # percentile of the distances in a folder up to which a face fits
_WIDE_BITS, _WIDE_DISTANCE = 16, 0.4  # within which the likeness of pairs is drawn
_NONE = float("nan")


@dataclass(frozen=True)
class Limit:
    """A limit: what it is, what is proposed, and what that is estimated to do.

    Attributes:
        name: Parameter of `curate`.
        now: Its value.
        proposed: That of the sample; `now` where the sample does not say.
        left_out: Share of the sample that it leaves out.
        basis: How the estimate was made.
        distributions: Name -> values; drawn on one axis.
        recall: Share of bad images that are left out; NaN where unknown, as the next two.
        lost: Share of good images that are left out.
        precision: Share of what is left out that is bad.
    """

    name: str
    now: float
    proposed: float
    left_out: float
    basis: str
    distributions: Mapping[str, np.ndarray] = field(repr=False)
    recall: float = _NONE
    lost: float = _NONE
    precision: float = _NONE


def propose(sample: Sample, params: Curate, seed: int = 0) -> list[Limit]:
    """A limit of each kind, in the order in which curation applies them."""
    rng = np.random.default_rng(seed)
    return [
        _box(sample, params),
        _sharpness(sample, params.min_sharpness),
        _face_probability(sample, params.min_face_probability),
        _duplicate_bits(sample, params.max_duplicate_bits),
        _identity_distance(sample, params.max_identity_distance, rng),
    ]


def best_limit(good: np.ndarray, bad: np.ndarray, share: float = 0.0) -> tuple[float, float, float]:
    """The limit above which values are bad.

    Args:
        good: (N,) values of good images, among which a `share` is distributed as `bad`.
        bad: (M,) values of bad ones.
        share: See `good`.

    Returns:
        The limit, the share of bad ones above it, and that of good ones above it.
    """
    both = np.concatenate([good, bad])
    limits = np.linspace(both.min(), both.max(), _STEPS)
    above_bad = _above(bad, limits)
    lost = np.clip((_above(good, limits) - share * above_bad) / (1 - share), 0, 1)
    error = np.where(lost <= LOST, lost + 1 - above_bad, np.inf)
    near = np.flatnonzero(error <= error.min() + _NEAR_LEAST)
    longest = max(np.split(near, np.flatnonzero(np.diff(near) > 1) + 1), key=len)
    at = int(longest[len(longest) // 2])
    return float(limits[at]), float(above_bad[at]), float(lost[at])


def _above(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    below = np.searchsorted(np.sort(values), limits, "right")
    return np.asarray(1 - below / len(values))


def bad_share(values: np.ndarray, bad: np.ndarray, most: float = 0.5) -> float:
    """The share of `values` that is distributed as `bad`, which are larger; at most `most`.

    Of several estimates the least: too high a share would cost good images.
    """
    limits = np.percentile(bad, _ABOVE)
    shares = _above(values, limits) / np.maximum(_above(bad, limits), 1 / len(bad))
    return float(min(most, shares.min()))


def _precision(share: float, recall: float, lost: float) -> float:
    """Of what is left out, the part that is bad, where a `share` of all images is."""
    out = share * recall + (1 - share) * lost
    return share * recall / out if share > 0 and out > 0 else _NONE


def _box(sample: Sample, params: Curate) -> Limit:
    """Nothing in a set says which face is too small; what the limit leaves out is counted."""
    now = params.min_box
    enlarged = f"{sample.enlarged.mean():.1%} of the crops are enlarged to {params.hr_size} px"
    basis = f"no limit is proposed: which faces are too small is for you to say; {enlarged}"
    out = float((sample.box < now).mean())
    return Limit("min_box", now, now, out, basis, {"shorter side of the box": sample.box})


def _sharpness(sample: Sample, now: float) -> Limit:
    sharp, blurred = sample.sharpness, sample.blurred
    share = bad_share(-sharp, -blurred[_CLEARLY], _SOFT)
    limit, recall, lost = best_limit(-sharp, -np.concatenate([*blurred.values()]), share)
    limit = round(-limit, _DECIMALS)
    each = [f"{(soft < limit).mean():.0%} of {by:g}" for by, soft in sorted(blurred.items())]
    basis = (
        f"crops blurred by shares of their side, of which are left out {', '.join(each)}; "
        f"{share:.1%} of the images seem as blurred"
    )
    drawn = {"as they are": sharp} | {f"blurred by {by:g}": soft for by, soft in blurred.items()}
    out = float((sharp < limit).mean())
    precision = _precision(share, recall, lost)
    return Limit("min_sharpness", now, limit, out, basis, drawn, recall, lost, precision)


def _face_probability(sample: Sample, now: float) -> Limit:
    """Faces that do not fit their folder are taken for no faces, where probabilities are low."""
    values = sample.face_probability
    within = outliers.distances(sample.embeddings, sample.groups)
    fits = within <= np.percentile(within, _FITS)
    limit, basis = now, "too few faces with a low probability to say; the limit stays"
    if (values < _CERTAIN).sum() >= _FEW:
        limit = _highest(values[fits])
        basis = f"the highest that leaves out at most {LOST:.0%} of the faces that fit their folder"
    out = values < limit
    drawn = {"fits its folder": values[fits], "does not": values[~fits]}
    shares = {
        "recall": _share(out[~fits]),
        "lost": _share(out[fits]),
        "precision": _share(~fits[out]),
    }
    return Limit("min_face_probability", now, limit, float(out.mean()), basis, drawn, **shares)


def _highest(good: np.ndarray) -> float:
    """The highest probability below which at most LOST of the good ones are."""
    tried = np.round(np.linspace(0.05, 0.95, 19), 2)
    lost = np.array([(good < each).mean() for each in tried])
    return float(tried[lost <= LOST].max(initial=tried[0]))


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else _NONE


def _duplicate_bits(sample: Sample, now: int) -> Limit:
    copies, others = np.concatenate([*sample.copied.values()]), _other_bits(sample)
    seen = {bits: float((copies <= bits).mean()) for bits in (*_HASH_BITS, now)}
    limit = now
    if seen[now] < _ENOUGH_COPIES:
        limit = next((bits for bits in _HASH_BITS if seen[bits] >= _COPIES), _HASH_BITS[-1])
    basis = (
        f"crops copied with changes ({', '.join(sample.copied)}); the limit stays while hashes "
        f"show {_ENOUGH_COPIES:.0%} of them. {_share(others <= limit):.1%} of the pairs of one "
        "person's images have as near hashes, and are compared by likeness and embedding"
    )
    out = len(np.unique(_pairs(sample, limit)[:, 1])) / len(sample.groups)
    drawn = {"copies": copies, "images of one person": others}
    return Limit("max_duplicate_bits", now, limit, out, basis, drawn, seen[limit])


def _other_bits(sample: Sample) -> np.ndarray:
    """Bits between images of one person."""
    bits = []
    for rows in outliers.rows_by_group(sample.groups):
        first, second = np.triu_indices(len(rows), 1)
        hashes = sample.dhash[rows]
        bits.append(np.bitwise_count(hashes[first] ^ hashes[second]))
    return np.concatenate(bits).astype(int)


def _pairs(sample: Sample, max_bits: int) -> np.ndarray:
    """The pairs of copies that curation finds in the sample."""
    if sample.are_detected:
        views = sample.thumbs, sample.embeddings, sample.faces
        return duplicates.find_detected_copies(*views, max_bits)[0]
    return duplicates.find_copies(sample.dhash, sample.thumbs, sample.embeddings, max_bits)[0]


def likeness_of_pairs(sample: Sample) -> np.ndarray:
    """The likeness of pairs whose hashes and embeddings are near, copies or not."""
    pairs = hash_search.close_hashes(sample.dhash, _WIDE_BITS)
    apart = sample.embeddings[pairs[:, 0]] - sample.embeddings[pairs[:, 1]]
    pairs = pairs[np.linalg.norm(apart, axis=1) <= _WIDE_DISTANCE]
    whole = sample.thumbs[:, 0] if sample.are_detected else sample.thumbs
    return duplicates.likeness(whole[pairs[:, 0]], whole[pairs[:, 1]])


def _identity_distance(sample: Sample, now: float, rng: np.random.Generator) -> Limit:
    within = outliers.distances(sample.embeddings, sample.groups)
    between = between_folders(sample, rng)
    share = bad_share(within, between)
    limit, recall, lost = best_limit(within, between, share)
    limit = round(limit, _DECIMALS)
    recalled, others = moved_faces(sample, limit, rng)
    basis = (
        f"distances to mean faces of other folders; {share:.1%} of the labels seem wrong. "
        f"Of faces moved to other folders, all rules of curation find {recalled:.1%}, "
        f"and leave out {others:.1%} of the others"
    )
    drawn = {"own folder": within, "other folders": between}
    out = float((within > limit).mean())
    precision = _precision(share, recall, lost)
    return Limit("max_identity_distance", now, limit, out, basis, drawn, recall, lost, precision)


def between_folders(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Distances of faces to the mean faces of other people's folders."""
    centres = outliers.centred(sample.embeddings, outliers.rows_by_group(sample.groups))[1]
    count = min(_OTHERS, len(centres) - 1)
    steps = rng.permutation(len(centres) - 1)[:count] + 1
    others = (sample.groups[:, None] + steps) % len(centres)
    apart = sample.embeddings[:, None] - centres[others]
    return np.asarray(np.linalg.norm(apart, axis=2)).ravel()


def moved_faces(sample: Sample, limit: float, rng: np.random.Generator) -> tuple[float, float]:
    """Move faces to other folders of three or more, and let curation look for them.

    Returns:
        The share of these that is left out, and that of the others; NaN in a set of pairs.
    """
    groups, sizes = sample.groups.copy(), np.bincount(sample.groups)
    homes = np.flatnonzero(sizes > 2)
    movable = rng.permutation(np.flatnonzero(sizes[groups] > 2))
    if len(homes) < 2:
        return _NONE, _NONE
    moved = movable[: max(1, round(_MOVED * len(movable)))]
    steps = rng.integers(1, len(homes), size=len(moved))
    groups[moved] = homes[(np.searchsorted(homes, groups[moved]) + steps) % len(homes)]
    wrong = outliers.wrong_persons(sample.embeddings, groups, sample.faces["yaw"], limit)
    return float(wrong[moved].mean()), float(np.delete(wrong, moved).mean())
