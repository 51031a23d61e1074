"""Find copies of an image by difference hashes; confirm them by thumbnails and embeddings."""

from collections.abc import Iterator

import cv2
import numpy as np

from refsr.curation.hash_search import NO_PAIRS, ascending, close_pairs
from refsr.curation.image_stats import difference_hash
from refsr.io.arrays import Rows, blocks, in_blocks

# Largest distance of embeddings of one face in two copies; two views are rarely so near.
_NEAR = 0.25
_NEAR_DETECTED = 0.32  # the same where boxes are detected, mirrored copies among them
# Least likeness of copies, minus half the distance of their embeddings.
_SAME = 0.75
_SAME_DETECTED = 0.72
_SAME_WHOLE = 0.9  # least likeness of whole images whose faces are not compared
_LEAST_SHARED = 12  # pixels of thumbnails, along each side, that are compared around a face
_FACE = ("x", "y", "w", "h", "width", "height")  # a box, and the size of its image, pixels
_WHOLE_VIEW, _CHIP_VIEW = 0, 1  # of the thumbnails of an image whose face was detected
_DETECTED_BITS = 6  # by which hashes of copies' aligned chips differ more than those of crops
_LEAST_CORRELATION = 0.8  # below it, no shift makes two thumbnails alike
_SHIFT = 2  # pixels by which a cropped copy's thumbnail may be shifted
_COARSE = 4.0  # standard deviation of the blur that is subtracted: what all portraits share
_AXES, _SAMPLE = 8, 1024  # of a projection, and the embeddings from which the axes are learnt
_ROUNDING = 0.01  # above the error of a distance between projections in float16


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
        for pairs in close_pairs(hashes, max_bits)
    )
    confirmed = (_confirmed(pairs, thumbs, embeddings) for pairs in in_blocks(close))
    results = [result for result in confirmed if len(result[0])]  # few blocks have any
    results.append((NO_PAIRS, np.empty(0)))
    pairs, alike = (np.concatenate(parts) for parts in zip(*results, strict=True))
    order = ascending(pairs)
    return pairs[order], alike[order]


def find_detected_copies(
    thumbs: Rows,
    embeddings: Rows,
    faces: Rows,
    max_bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`find_copies` where faces were detected, whose boxes differ from copy to copy.

    What is hashed are the aligned chips, as they are and mirrored. Copies are alike either as whole
    images or, where one is cropped, as chips and as what both images show around them: two views
    of one person often share the face, but not what surrounds it.

    Args:
        thumbs: (N, 2, h, w) uint8, of whole images and of chips.
        embeddings: (N, D).
        faces: (N,) with the fields x, y, w, h, width and height, in pixels of the image.
        max_bits: Hamming distance of the crops of one box; a few bits more are allowed for.

    Returns:
        As `find_copies`.
    """
    alike: dict[tuple[int, int], float] = {}
    for rows, flipped in _mirrored_too(thumbs, _CHIP_VIEW, max_bits + _DETECTED_BITS):
        distance = _distances(embeddings, rows)
        near = distance <= _NEAR_DETECTED
        for (a, b), flip, apart in zip(rows[near], flipped[near], distance[near], strict=True):
            most = _views_alike(thumbs[[a, b]], faces[[a, b]], flip=bool(flip))
            if most - apart / 2 >= _SAME_DETECTED:
                pair = (int(min(a, b)), int(max(a, b)))
                alike[pair] = max(alike.get(pair, 0.0), most)
    order = sorted(alike)
    copies = np.array(order, np.int64).reshape(-1, 2)
    return copies, np.array([alike[pair] for pair in order])


def find_whole_copies(
    thumbs: Rows, sought: np.ndarray, max_bits: int
) -> Iterator[tuple[int, int, float]]:
    """Copies of some images as wholes, mirrored ones too, whichever of their faces was chosen.

    Args:
        thumbs: (N, 2, h, w) uint8, of whole images and of chips.
        sought: (N,) the images whose copies among the others are sought.
        max_bits: Hamming distance.

    Yields:
        The row of a sought image, that of a copy of it, and their likeness; perhaps twice.
    """
    if not sought.any():
        return
    for rows, flipped in _mirrored_too(thumbs, _WHOLE_VIEW, max_bits):
        one_is = sought[rows[:, 0]] != sought[rows[:, 1]]
        for (a, b), flip in zip(rows[one_is].tolist(), flipped[one_is], strict=True):
            first, second = thumbs[[a]][:, _WHOLE_VIEW], thumbs[[b]][:, _WHOLE_VIEW]
            alike = float(likeness(first, second[..., ::-1] if flip else second)[0])
            if alike >= _SAME_WHOLE:
                yield (a, b, alike) if sought[a] else (b, a, alike)


def _mirrored_too(
    thumbs: Rows, view: int, max_bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows (M, 2) whose views are near, and (M,) whether with the second one mirrored."""
    count = len(thumbs)
    parts = [_hashes(thumbs[part][:, view]) for part in blocks(count)]
    hashes = np.concatenate([np.concatenate(side) for side in zip(*parts, strict=True)])
    for close in close_pairs(hashes, max_bits):
        pairs = close[close[:, 0] < count]  # of two mirrored ones, the unmirrored are known
        mirrored = pairs[:, 1] >= count
        rows = pairs - np.stack([np.zeros_like(mirrored), mirrored], axis=1) * count
        others = rows[:, 0] != rows[:, 1]
        yield rows[others], mirrored[others]


def _hashes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference hashes (N,) of images (N, h, w) as they are, and mirrored."""
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    return difference_hash(np.ascontiguousarray(images)), difference_hash(mirrored)


def _views_alike(thumbs: np.ndarray, faces: np.ndarray, *, flip: bool) -> float:
    """The likeness of two images (2, 2, h, w), see `find_detected_copies`.

    `faces` (2,) are their faces; `flip` mirrors the second image.
    """
    first, second = thumbs[:1], thumbs[1:, ..., ::-1] if flip else thumbs[1:]
    whole, chip = (float(likeness(first[:, view], second[:, view])[0]) for view in (0, 1))
    around = _laid_alike(first[0, _WHOLE_VIEW], second[0, _WHOLE_VIEW], faces, flip=flip)
    return max(whole, (chip + around) / 2)


def _laid_alike(first: np.ndarray, second: np.ndarray, faces: np.ndarray, *, flip: bool) -> float:
    """The likeness of what two images (h, w) both show, laid onto each other by their faces (2,).

    0 where that is little.
    """
    centre, size = _in_thumb(faces[0], first.shape, flip=False)
    other, other_size = _in_thumb(faces[1], second.shape, flip=flip)
    stretch = other_size / size
    matrix = np.column_stack([np.diag(stretch), other - stretch * centre])
    border = cv2.BORDER_REFLECT_101
    laid = cv2.warpAffine(
        np.ascontiguousarray(second, np.float32),
        matrix,
        first.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    extent = np.array(first.shape[::-1])
    start = np.clip(np.ceil((-0.5 - matrix[:, 2]) / stretch), 0, extent).astype(int)
    end = np.clip(np.floor((extent - 0.5 - matrix[:, 2]) / stretch) + 1, 0, extent).astype(int)
    if (end - start).min() < _LEAST_SHARED:
        return 0.0
    part = slice(start[1], end[1]), slice(start[0], end[0])
    return _shifted(_detail(first)[part], _detail(laid)[part])


def _in_thumb(
    face: np.ndarray, shape: tuple[int, ...], *, flip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The centre (2,) and size (2,) of a face in the thumbnail of its image, perhaps mirrored."""
    x, y, w, h, width, height = (float(face[name]) for name in _FACE)
    across = x + w / 2
    scale = np.array([shape[1] / width, shape[0] / height])
    centre = np.array([width - across if flip else across, y + h / 2]) * scale - 0.5
    return centre, np.sqrt(w * h) * scale


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
