"""The statistics of a small face: each answers to its own fault of a photo, in its unit."""

import numpy as np
import pytest
import torch

from refsr.dataset.degradation import reduce
from refsr.dataset.small_photos import WAYS
from refsr.inference.image_statistics import (
    STATISTICS,
    image_statistics,
)
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render

SIDE = 16


@pytest.fixture(scope="module")
def face():
    """(1, 3, 128, 128) in [0, 1]: a rendered face."""
    built = model(11)
    image = render(
        built,
        view(0, built.who, True),
        Frame(128, 128, 84.0, 64.0, 75.0),
    ).image
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def pixels(lr):
    return (lr[0] * 255).round().byte().permute(1, 2, 0).numpy()


def measured(face, way="bicubic"):
    return image_statistics(pixels(WAYS[way](face, 128 // SIDE)[1]), SIDE)


def test_every_statistic_is_registered_and_finite(face):
    values = measured(face)
    assert list(values) == list(STATISTICS)
    assert np.isfinite([*values.values()]).all()


def test_levels_of_a_flat_face_are_its_own():
    flat = np.broadcast_to(np.uint8([150, 90, 60]), (SIDE, SIDE, 3))
    values = image_statistics(flat, SIDE)
    assert values["warmth"] == 90 and values["tint"] == pytest.approx(-15)
    assert values["brightness"] == pytest.approx(0.299 * 150 + 0.587 * 90 + 0.114 * 60, abs=1)
    assert [
        values[name]
        for name in (
            "contrast",
            "sharpness",
            "noise",
            "colour_detail",
        )
    ] == [0] * 4


def test_noise_is_measured_in_levels():
    drawn = np.random.default_rng(0).normal(128, 9, (64, 64, 1)).round().clip(0, 255)
    grey = np.broadcast_to(drawn.astype(np.uint8), (64, 64, 3))
    assert image_statistics(grey, 64)["noise"] == pytest.approx(9, rel=0.1)


@pytest.mark.parametrize(
    ("way", "name", "sign"),
    [
        ("blur", "sharpness", -1),
        ("blur", "noise", -1),
        ("noise", "noise", 1),
        ("noise", "colour_detail", 1),
        ("jpeg_30", "noise", -1),
        ("jpeg_30", "colour_detail", -1),
    ],
)
def test_faults_of_small_photos_show(face, way, name, sign):
    assert sign * (measured(face, way)[name] - measured(face)[name]) > 0


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3), (2, 5, 3), (40, 40, 3), (300, 200, 3)],
)
def test_any_size_is_fitted_to_the_network(shape):
    values = image_statistics(np.full(shape, 77, np.uint8), SIDE)
    assert values["brightness"] == 77 and values["contrast"] == 0


def test_a_larger_crop_is_measured_as_the_network_gets_it(
    face,
):
    whole = image_statistics(pixels(face), SIDE)
    small = image_statistics(pixels(reduce(face, 128 // SIDE)), SIDE)
    assert whole == pytest.approx(small, abs=0.6)
