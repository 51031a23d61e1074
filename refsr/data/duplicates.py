"""Copies of one picture: found by their difference hashes, confirmed by their thumbnails and faces."""

import cv2
import numpy as np

_SAME = 0.72  # likeness of the pictures less half the distance of the faces, from which on they are one picture
_WORTH_A_LOOK = 0.8  # correlation under which no shift makes two thumbnails alike
_SHIFT = 2  # pixels by which a cropped copy's thumbnail may be off
_COARSE = 4.0  # standard deviation of the blur that is taken off: what two portraits have in common
_BLOCK = 1024


def find_copies(
    hashes: np.ndarray, thumbs: np.ndarray, embeddings: np.ndarray, max_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows, (M, 2) with first < second in ascending order, that show one picture; their likeness (M,).

    Their hashes (N,) uint64 differ in at most `max_bits`, thumbs (N, h, w) uint8 are alike and embeddings (N, D) of the
    faces near. Two views of one person often share a hash, two portraits the light, but not detail and face at once.
    """
    pairs = close_hashes(hashes, max_bits)
    alike = likeness(thumbs[pairs[:, 0]], thumbs[pairs[:, 1]])
    apart = np.linalg.norm(embeddings[pairs[:, 0]] - embeddings[pairs[:, 1]], axis=1)
    same = alike - apart / 2 >= _SAME
    return pairs[same], alike[same]


def close_hashes(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Pairs of rows (M, 2), first < second, whose hashes (N,) uint64 differ in at most `max_bits`."""
    found = []
    for start in range(0, len(hashes), _BLOCK):
        bits = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        first, second = np.nonzero(bits <= max_bits)
        found.append(np.stack([first, second], axis=1)[first < second] + start)
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


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
    return np.asarray(np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0))
