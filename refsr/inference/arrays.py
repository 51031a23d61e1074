"""The images that a program gives: checked, and each named in what is wrong with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from refsr.errors import RefsrError

# one, or a list of them
References = np.ndarray | Sequence[np.ndarray]


def batch(
    photo: np.ndarray | Sequence[np.ndarray], references: Sequence[Any], *, own: bool = False
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Photos, and the references of each, as arrays that are checked and may be written to.

    PyTorch warns of those that may not, as Pillow's are.

    Args:
        photo: One, or a list or tuple of them.
        references: One by one, or as one list: those of every photo.
        own: Whether a list of lists, those of each photo, is taken too.

    Raises:
        RefsrError: An image has another shape or dtype, or there are not as many lists as photos.
    """
    is_one = not isinstance(photo, list | tuple)
    photos = [photo] if is_one else list(photo)
    names = ["photo"] if is_one else [f"photo {number}" for number in range(1, len(photos) + 1)]
    copies = [image_of(each, name) for each, name in zip(photos, names, strict=True)]
    given = listed(references)
    if is_one or not own or not given or not all(isinstance(each, list | tuple) for each in given):
        return copies, [checked(given)] * len(copies)
    if len(given) != len(photos):
        raise RefsrError(
            f"references: {len(given)} lists for {len(photos)} photos; give a list for each"
        )
    pairs = zip(given, names, strict=True)
    return copies, [checked(each, f"{name}, ") for each, name in pairs]


def checked(references: Sequence[Any], whose: str = "") -> list[np.ndarray]:
    """Copies of references. Raises RefsrError where one cannot be used."""
    numbered = enumerate(references, 1)
    return [image_of(each, f"{whose}reference {number}") for number, each in numbered]


def listed(references: Sequence[Any]) -> list[Any]:
    """References that were given one by one, or as one list or tuple."""
    if len(references) == 1 and isinstance(references[0], list | tuple):
        return list(references[0])
    return list(references)


def image_of(image: Any, name: str) -> np.ndarray:
    """A copy. Raises RefsrError unless `image` is (H, W, 3) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise RefsrError(f"{name}: an array (H, W, 3) is expected, not {type(image).__name__}")
    if image.dtype != np.uint8:
        raise RefsrError(f"{name}: dtype uint8 (0 to 255) is expected, not {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise RefsrError(f"{name}: shape (H, W, 3), RGB, is expected, not {image.shape}")
    return np.array(image)
