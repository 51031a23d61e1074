"""Find copies of an image by difference hashes; confirm them by thumbnails and embeddings."""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise

import cv2
import numpy as np

from refsr.curation.image_stats import difference_hash
from refsr.io.arrays import Rows, blocks, in_blocks

# Largest distance of embeddings of one face in two copies; two views are rarely so near.
_NEAR = 0.25
_NEAR_DETECTED = 0.32  # the same where boxes are detected, mirrored copies among them
# Least likeness of copies, minus half the distance of their embeddings.
_SAME = 0.75
_SAME_DETECTED = 0.68
_DETECTED_BITS = 6  # by which hashes of copies' aligned chips differ more than those of crops
_LEAST_CORRELATION = 0.8  # below it, no shift makes two thumbnails alike
_SHIFT = 2  # pixels by which a cropped copy's thumbnail may be shifted
_COARSE = 4.0  # standard deviation of the blur that is subtracted: what all portraits share
_AXES, _SAMPLE = 8, 1024  # of a projection, and the embeddings from which the axes are learnt
_ROUNDING = 0.01  # above the error of a distance between projections in float16
_STRIDE = 19  # between bits of a band; odd, so that each of 64 occurs once
_LOOKUP = 4.0  # cost of looking up a band, in comparisons of hashes
_BLOCK = 1 << 15  # hashes looked up, or pairs compared, at a time
_NO_PAIRS = np.empty((0, 2), np.int64)


def find_copies(
    hashes: np.ndarray,
    thumbs: Rows,
    embeddings: Rows,
    max_bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of copies among N images.

    Their hashes differ in at most `max_bits`, their thumbnails are alike, and the embeddings of
    their faces are near. Two views of one person often share a hash, and two portraits the light,
    but not detail and face together.

    Args:
        hashes: (N,) uint64.
        thumbs: (N, h, w) uint8.
        embeddings: (N, D).
        max_bits: Hamming distance.

    Returns:
        Pairs of rows (M, 2), first < second, in ascending order; and their likeness (M,).
    """
    projections = _projections(embeddings)
    close = (
        pairs[
            _distances(
                projections,
                pairs,
            )
            <= _NEAR + _ROUNDING
        ]
        for pairs in _close(hashes, max_bits)
    )
    confirmed = (_confirmed(pairs, thumbs, embeddings) for pairs in in_blocks(close))
    results = [result for result in confirmed if len(result[0])]  # few blocks have any
    results.append((_NO_PAIRS, np.empty(0)))
    pairs, alike = (np.concatenate(parts) for parts in zip(*results, strict=True))
    order = _ascending(pairs)
    return pairs[order], alike[order]


def find_detected_copies(
    thumbs: Rows,
    embeddings: Rows,
    max_bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`find_copies` where faces were detected, whose boxes differ from copy to copy.

    What is hashed are the aligned chips, as they are and mirrored. Copies are alike either as whole
    images or, where one is cropped, as chips.

    Args:
        thumbs: (N, 2, h, w) uint8, of whole images and of chips.
        embeddings: (N, D).
        max_bits: Hamming distance of the crops of one box; a few bits more are allowed for.

    Returns:
        As `find_copies`.
    """
    count = len(thumbs)
    parts = [_chip_hashes(thumbs[part]) for part in blocks(count)]
    hashes = np.concatenate([np.concatenate(side) for side in zip(*parts, strict=True)])
    alike: dict[tuple[int, int], float] = {}
    for close in _close(hashes, max_bits + _DETECTED_BITS):
        pairs = close[close[:, 0] < count]  # of two mirrored ones, the unmirrored are known
        mirrored = pairs[:, 1] >= count
        rows = pairs - np.stack([np.zeros_like(mirrored), mirrored], axis=1) * count
        distance = _distances(embeddings, rows)
        near = (distance <= _NEAR_DETECTED) & (rows[:, 0] != rows[:, 1])
        for (a, b), flip, apart in zip(rows[near], mirrored[near], distance[near], strict=True):
            most = _views_alike(thumbs[[a]], thumbs[[b]], flip=bool(flip))
            if most - apart / 2 >= _SAME_DETECTED:
                pair = (int(min(a, b)), int(max(a, b)))
                alike[pair] = max(alike.get(pair, 0.0), most)
    order = sorted(alike)
    copies = np.array(order, np.int64).reshape(-1, 2)
    return copies, np.array([alike[pair] for pair in order])


def _chip_hashes(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference hashes (N,) of chips as they are, and mirrored."""
    chips = thumbs[:, 1]
    mirrored = np.ascontiguousarray(chips[:, :, ::-1])
    return difference_hash(np.ascontiguousarray(chips)), difference_hash(mirrored)


def _views_alike(first: np.ndarray, second: np.ndarray, *, flip: bool) -> float:
    """The likeness of two images (1, 2, h, w), as wholes or as chips; `flip` mirrors the second."""
    second = second[..., ::-1] if flip else second
    return float(max(likeness(first[:, view], second[:, view])[0] for view in (0, 1)))


def _projections(embeddings: Rows) -> np.ndarray:
    """The embeddings on their at most 8 principal axes: (N, A) float16, which fit into memory.

    Embeddings are at least as far apart as their projections, so that most pairs are rejected
    without reading embeddings.
    """
    count = len(embeddings)
    rows = np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int)
    some = embeddings[rows]
    axes = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][:_AXES].T
    parts = [(embeddings[block] @ axes).astype(np.float16) for block in blocks(count)]
    return np.concatenate(parts)


def _distances(points: Rows, pairs: np.ndarray) -> np.ndarray:
    """The distances (M,) of points (N, D) by pairs (M, 2)."""
    difference = points[pairs[:, 0]].astype(np.float32) - points[pairs[:, 1]]
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)))


def _confirmed(pairs: np.ndarray, thumbs: Rows, embeddings: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that are copies, and their likeness; thumbnails are read where faces are near."""
    distance = _distances(embeddings, pairs)
    near = distance <= _NEAR
    pairs, distance = pairs[near], distance[near]
    alike = likeness(thumbs[pairs[:, 0]], thumbs[pairs[:, 1]])
    same = alike - distance / 2 >= _SAME
    return pairs[same], alike[same]


def close_hashes(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Find all pairs of hashes (N,) uint64 that differ in at most `max_bits` bits.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): if two hashes differ in r bits,
    one of m bands differs in at most r // m bits. Each band is sorted, and looked up with every
    pattern of so few bits. With bands of about log2(N) bits, evenly spread hashes take far fewer
    than N^2 steps, apart from M.

    Returns:
        Pairs of rows (M, 2), first < second, in ascending order.
    """
    pairs = np.concatenate([_NO_PAIRS, *_close(hashes, max_bits)])
    return np.asarray(pairs[_ascending(pairs)])


def _ascending(pairs: np.ndarray) -> np.ndarray:
    return np.lexsort((pairs[:, 1], pairs[:, 0]))


def _close(hashes: np.ndarray, max_bits: int) -> Iterator[np.ndarray]:
    """The pairs of `close_hashes` in any order, each once, a bounded number at a time."""
    bands = _bands(_band_count(len(hashes), max_bits))
    radius = max_bits // len(bands)
    for number, band in enumerate(bands):
        for pairs in in_blocks(_close_in_band(hashes, band, radius, max_bits), _BLOCK):
            differ = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
            known = np.zeros(len(pairs), bool)  # from an earlier band
            for mask in map(_mask, bands[:number]):
                known |= np.bitwise_count(differ & mask) <= radius
            yield pairs[~known]


def _bands(count: int) -> list[list[int]]:
    """Divide the 64 bits of a hash into bands; neighbours are in different ones.

    Neighbouring bits are often equal. A band of such has few values with many hashes each, all of
    which would be compared.
    """
    edges = np.linspace(0, 64, count + 1).astype(int).tolist()
    return [[_STRIDE * place % 64 for place in range(*ends)] for ends in pairwise(edges)]


def _mask(places: Iterable[int]) -> np.uint64:
    return np.uint64(sum(1 << place for place in places))


def _band_count(total: int, max_bits: int) -> int:
    """The number of bands with the fewest lookups and comparisons."""

    def cost(bands: int) -> float:
        width, radius = 64 // bands, max_bits // bands
        lookups = bands * sum(math.comb(width, bits) for bits in range(radius + 1))
        return lookups * (_LOOKUP + total / 2.0**width)

    return min(range(1, 17), key=cost)


def _close_in_band(
    hashes: np.ndarray,
    band: list[int],
    radius: int,
    max_bits: int,
) -> Iterator[np.ndarray]:
    """Close pairs (M, 2) of hashes that differ in at most `radius` bits of a band."""
    mask = _mask(band)
    order = np.argsort(hashes & mask, kind="stable")
    ordered = hashes[order]
    keys = ordered & mask
    for pattern in _patterns(band, radius):
        for at in range(0, len(keys), _BLOCK):
            sought = keys[at : at + _BLOCK] ^ pattern
            start = np.searchsorted(keys, sought, "left")
            end = np.searchsorted(keys, sought, "right")
            # Of two hashes, the earlier finds the later.
            start = np.maximum(start, np.arange(at + 1, at + 1 + len(sought)))
            for row, other in _spread(start, end):
                differ = ordered[at + row] ^ ordered[other]
                near = np.flatnonzero(np.bitwise_count(differ) <= max_bits)
                pairs = np.stack([order[at + row[near]], order[other[near]]], axis=1)
                yield np.sort(pairs, axis=1)


def _patterns(band: list[int], radius: int) -> Iterator[np.uint64]:
    """All masks of at most `radius` bits of a band."""
    for bits in range(radius + 1):
        for places in combinations(band, bits):
            yield _mask(places)


def _spread(start: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(row, other) for each `other` in start[row]:end[row], a bounded number at a time."""
    rows = np.flatnonzero(end > start)
    block = np.cumsum(end[rows] - start[rows]) // _BLOCK
    for part in np.split(rows, np.flatnonzero(np.diff(block)) + 1):
        counts = end[part] - start[part]
        offsets = np.repeat(end[part] - np.cumsum(counts), counts)
        yield np.repeat(part, counts), np.arange(counts.sum()) + offsets


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of the detail of images, pair by pair, at the best small shift.

    (M, h, w), (M, h, w) uint8 -> (M,); 0 for pairs that are too different without a shift.
    """
    alike = np.zeros(len(a))
    for row in np.flatnonzero(correlate(a, b) >= _LEAST_CORRELATION):
        first, second = _detail(a[row]), _detail(b[row])
        alike[row] = max(_shifted(first, second), _shifted(second, first))
    return alike


def _detail(thumb: np.ndarray) -> np.ndarray:
    fine = thumb.astype(np.float32)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), _COARSE))


def _shifted(a: np.ndarray, b: np.ndarray) -> float:
    """The best correlation of the inner part of `a` with any part of `b`."""
    inner = a[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    return float(cv2.matchTemplate(b, inner, cv2.TM_CCOEFF_NORMED).max())


def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised correlation of images, pair by pair: (M, h, w), (M, h, w) -> (M,).

    It is 1 for images that are equal up to contrast.
    """
    return np.asarray(np.einsum("ij,ij->i", _normalised(a), _normalised(b)))


def _normalised(images: np.ndarray) -> np.ndarray:
    pixels = images.shape[1] * images.shape[2]
    flat = images.reshape(len(images), pixels).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    # Where the norm is 0, all pixels are 0 as well.
    return np.asarray(np.divide(flat, norm, out=flat, where=norm > 0))
