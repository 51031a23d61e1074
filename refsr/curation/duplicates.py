"""Copies of one picture: found by their difference hashes, confirmed by their thumbnails and faces."""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise

import cv2
import numpy as np

from refsr.io.arrays import Rows, blocks, in_blocks

_NEAR = 0.25  # most that embeddings of one face in one picture lie apart; of two views it is rarely so little
_SAME = 0.75  # likeness of the pictures less half the distance of the faces, from which on they are one picture
_WORTH_A_LOOK = 0.8  # correlation under which no shift makes two thumbnails alike
_SHIFT = 2  # pixels by which a cropped copy's thumbnail may be off
_COARSE = 4.0  # standard deviation of the blur that is taken off: what two portraits have in common
_AXES, _SAMPLE = 8, 1024  # of an outline, and the embeddings from which they are learnt
_ROUNDED = 0.01  # more than an outline's numbers are off
_STRIDE = 19  # between bits of a band; odd, so that each of 64 is met once
_LOOKUP = 4.0  # what looking up a band costs, in hashes compared
_BLOCK = 1 << 15  # hashes looked up, or pairs compared, at a time
_NO_PAIRS = np.empty((0, 2), np.int64)


def find_copies(hashes: np.ndarray, thumbs: Rows, embeddings: Rows, max_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows, (M, 2) with first < second in ascending order, that show one picture; their likeness (M,).

    Their hashes (N,) uint64 differ in at most `max_bits`, thumbs (N, h, w) uint8 are alike and embeddings (N, D) of the
    faces near. Two views of one person often share a hash, two portraits the light, but not detail and face at once.
    """
    outlines = _outlines(embeddings)
    close = (pairs[_apart(outlines, pairs) <= _NEAR + _ROUNDED] for pairs in _close(hashes, max_bits))
    confirmed = (_confirmed(pairs, thumbs, embeddings) for pairs in in_blocks(close))
    found = [(pairs, alike) for pairs, alike in confirmed if len(pairs)]  # of most blocks nothing is left
    pairs, alike = (np.concatenate(parts) for parts in zip(*found, (_NO_PAIRS, np.empty(0)), strict=True))
    order = _ascending(pairs)
    return pairs[order], alike[order]


def _outlines(embeddings: Rows) -> np.ndarray:
    """(N, at most 8) float16, few enough to be held in memory: the embeddings along the axes on which they differ most.

    Where outlines lie apart, embeddings do at least as far, so that most pairs are done with before these are read.
    """
    some = embeddings[np.linspace(0, len(embeddings) - 1, min(_SAMPLE, len(embeddings))).astype(int)]
    axes = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][:_AXES].T
    return np.concatenate([(embeddings[block] @ axes).astype(np.float16) for block in blocks(len(embeddings))])


def _apart(points: Rows, pairs: np.ndarray) -> np.ndarray:
    """The distances of points (N, D) pair by pair."""
    difference = points[pairs[:, 0]].astype(np.float32) - points[pairs[:, 1]]
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference)))


def _confirmed(pairs: np.ndarray, thumbs: Rows, embeddings: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Those of the pairs that show one picture, and their likeness; thumbnails are looked at where faces are near."""
    apart = _apart(embeddings, pairs)
    pairs, apart = pairs[apart <= _NEAR], apart[apart <= _NEAR]
    alike = likeness(thumbs[pairs[:, 0]], thumbs[pairs[:, 1]])
    same = alike - apart / 2 >= _SAME
    return pairs[same], alike[same]


def close_hashes(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Pairs of rows (M, 2), first < second in ascending order, whose hashes (N,) uint64 differ in at most `max_bits`.

    Exact, by multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): cut into m bands, two hashes that differ in
    r bits agree in one band up to r // m bits. Each band is sorted and looked up with every pattern of so few bits.
    With bands of about log2(N) bits a hash meets few others, so that evenly spread hashes take far fewer than N^2
    steps; M alone may be as many.
    """
    pairs = np.concatenate([_NO_PAIRS, *_close(hashes, max_bits)])
    return np.asarray(pairs[_ascending(pairs)])


def _ascending(pairs: np.ndarray) -> np.ndarray:
    return np.lexsort((pairs[:, 1], pairs[:, 0]))


def _close(hashes: np.ndarray, max_bits: int) -> Iterator[np.ndarray]:
    """The same pairs in no order, each once, a bounded number at a time."""
    bands = _bands(_band_count(len(hashes), max_bits))
    radius = max_bits // len(bands)
    for number, band in enumerate(bands):
        for pairs in in_blocks(_close_in_band(hashes, band, radius, max_bits), _BLOCK):
            differ = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
            met = np.zeros(len(pairs), bool)  # in an earlier band
            for mask in map(_mask, bands[:number]):
                met |= np.bitwise_count(differ & mask) <= radius
            yield pairs[~met]


def _bands(count: int) -> list[list[int]]:
    """The places of a hash's 64 bits in so many bands, neighbours in different ones.

    Neighbours are often the same. A band of such has few values, each of many hashes, that all are compared.
    """
    edges = np.linspace(0, 64, count + 1).astype(int).tolist()
    return [[_STRIDE * place % 64 for place in range(*ends)] for ends in pairwise(edges)]


def _mask(places: Iterable[int]) -> np.uint64:
    return np.uint64(sum(1 << place for place in places))


def _band_count(total: int, max_bits: int) -> int:
    """The number of bands for which lookups, and hashes met in them, are fewest."""

    def cost(bands: int) -> float:
        width = 64 // bands
        looks = bands * sum(math.comb(width, bits) for bits in range(max_bits // bands + 1))
        return looks * (_LOOKUP + total / 2.0**width)

    return min(range(1, 17), key=cost)


def _close_in_band(hashes: np.ndarray, band: list[int], radius: int, max_bits: int) -> Iterator[np.ndarray]:
    """Pairs (M, 2) of `hashes` near one another that differ in at most `radius` bits of a band."""
    mask = _mask(band)
    order = np.argsort(hashes & mask, kind="stable")
    ordered = hashes[order]
    keys = ordered & mask
    for pattern in (_mask(places) for bits in range(radius + 1) for places in combinations(band, bits)):
        for at in range(0, len(keys), _BLOCK):
            sought = keys[at : at + _BLOCK] ^ pattern
            start, end = (np.searchsorted(keys, sought, side) for side in ("left", "right"))
            start = np.maximum(start, np.arange(at + 1, at + 1 + len(sought)))  # of two, the earlier finds the later
            for row, other in _spread(start, end):
                near = np.flatnonzero(np.bitwise_count(ordered[at + row] ^ ordered[other]) <= max_bits)
                yield np.sort(np.stack([order[at + row[near]], order[other[near]]], axis=1), axis=1)


def _spread(start: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(row, other) for each `other` from start[row] up to end[row], a bounded number of pairs at a time."""
    rows = np.flatnonzero(end > start)
    block = np.cumsum(end[rows] - start[rows]) // _BLOCK
    for part in np.split(rows, np.flatnonzero(np.diff(block)) + 1):
        counts = end[part] - start[part]
        yield np.repeat(part, counts), np.arange(counts.sum()) + np.repeat(end[part] - np.cumsum(counts), counts)


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, h, w), (M, h, w) uint8 -> (M,): correlation of the detail of images pair by pair, at the best small shift.

    0 for pairs that are too different to be looked at closely.
    """
    alike = np.zeros(len(a))
    for row in np.flatnonzero(correlate(a, b) >= _WORTH_A_LOOK):
        first, second = _detail(a[row]), _detail(b[row])
        alike[row] = max(_shifted(first, second), _shifted(second, first))
    return alike


def _detail(thumb: np.ndarray) -> np.ndarray:
    fine = thumb.astype(np.float32)
    return np.asarray(fine - cv2.GaussianBlur(fine, (0, 0), _COARSE))


def _shifted(a: np.ndarray, b: np.ndarray) -> float:
    """The best correlation of the inner part of `a` with any place in `b`."""
    return float(cv2.matchTemplate(b, a[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT], cv2.TM_CCOEFF_NORMED).max())


def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised correlation of images pair by pair: (M, h, w), (M, h, w) -> (M,), 1 for the same up to contrast."""
    return np.asarray(np.einsum("ij,ij->i", _normalised(a), _normalised(b)))


def _normalised(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, norm, out=flat, where=norm > 0))  # where the norm is 0, so are they
