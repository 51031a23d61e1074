"""Pixels as images in [0, 1], and back."""

import warnings

import numpy as np
import torch

from refsr.dataset.tensors import (
    to_8_bits,
    to_images,
    to_pixels,
)

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8)
PIXELS = PIXELS.reshape(2, 4, 5, 3)


def test_pixels_come_back() -> None:
    images = to_images(PIXELS)
    assert images.shape == (2, 3, 4, 5)
    assert images[1, 2, 3, 4] == 119 / 255
    assert images.dtype == torch.float32
    assert np.array_equal(to_pixels(images), PIXELS)
    assert torch.equal(to_8_bits(images), images)


def test_any_array_is_taken_and_kept() -> None:
    locked = PIXELS.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings(action="error"):
        to_images(locked)
    images = to_images(locked[:, ::-1])
    images += 1
    assert np.array_equal(locked, PIXELS)
    upright = images.flip(2) - 1
    assert np.array_equal(to_pixels(upright), PIXELS)


def test_what_lies_outside_is_clamped() -> None:
    images = torch.tensor([-0.5, 0.5, 1.5])
    images = images.reshape(1, 3, 1, 1)
    saved = to_8_bits(images).flatten()
    assert saved.tolist() == [0, torch.tensor(128 / 255), 1]
    assert to_pixels(images).tolist() == [[[[0, 128, 255]]]]
