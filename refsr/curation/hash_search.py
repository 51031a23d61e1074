"""Search for pairs of 64-bit hashes that differ in few bits."""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise

import numpy as np

from refsr.io.arrays import in_blocks

_STRIDE = 19  # between bits of a band; odd, so that each of 64 occurs once
_LOOKUP = 4.0  # cost of looking up a band, in comparisons of hashes
_BLOCK = 1 << 15  # hashes looked up, or pairs compared, at a time
NO_PAIRS = np.empty((0, 2), np.int64)


def close_hashes(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Find all pairs of hashes (N,) uint64 that differ in at most `max_bits` bits.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): if two hashes differ in r bits,
    one of m bands differs in at most r // m bits. Each band is sorted, and looked up with every
    pattern of so few bits. With bands of about log2(N) bits, evenly spread hashes take far fewer
    than N^2 steps, apart from M.

    Returns:
        Pairs of rows (M, 2), first < second, in ascending order.
    """
    pairs = np.concatenate([NO_PAIRS, *close_pairs(hashes, max_bits)])
    return np.asarray(pairs[ascending(pairs)])


def ascending(pairs: np.ndarray) -> np.ndarray:
    """The order (M,) of pairs (M, 2) by their first row, then by their second."""
    return np.lexsort((pairs[:, 1], pairs[:, 0]))


def close_pairs(hashes: np.ndarray, max_bits: int) -> Iterator[np.ndarray]:
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
