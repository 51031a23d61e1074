"""Landmarks: where they lie in crops and in training batches, and references laid onto faces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import make_curated

from refsr.config import TrainRefsr
from refsr.curation.alignment import aligned_crops, crop_points, square_crop
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.landmarks import Locator, lay_onto, similarity_between
from refsr.training.pairs import COPIES, Pairs

POINTS = np.array([(130, 120), (180, 130), (150, 160), (125, 190), (165, 195)], float)
BOX = np.array([100, 80, 100, 140], float)


def dotted(points: np.ndarray, size: int, radius: float) -> np.ndarray:
    """An image (size, size, 3) that is black but for a soft dot of another colour at each of the
    first three points.
    """
    rows, columns = np.mgrid[:size, :size] + 0.5
    distances = [np.hypot(columns - x, rows - y) for x, y in points[:3]]
    dots = np.stack([np.exp(-((each / radius) ** 2)) for each in distances], -1)
    return (255 * dots).astype(np.uint8)


def centres(image: np.ndarray) -> np.ndarray:
    """Where the dots of `dotted` are, (3, 2) pixels."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weights = image.astype(float) ** 2
    totals = weights.sum((0, 1))
    places = [(weights * axis[..., None]).sum((0, 1)) / totals for axis in (columns, rows)]
    return np.stack(places, -1)


@pytest.mark.parametrize("kind", ["loose", "aligned"])
@pytest.mark.parametrize("size", [32, 64, 300])
def test_points_of_a_crop_are_where_it_shows_them(kind: str, size: int) -> None:
    image = dotted(POINTS, 300, 8)
    if kind == "loose":
        crop = square_crop(image, BOX, 1.3, size)
    else:
        crop = next(aligned_crops([image], POINTS[None], 1.3, size))
    expected = crop_points(BOX[None], POINTS[None], kind, 1.3, size)[0]
    assert np.abs(centres(crop) - expected[:3]).max() < 0.15


@pytest.mark.parametrize("kind", ["loose", "aligned"])
def test_points_that_are_unknown_stay_so(kind: str) -> None:
    points = np.stack([POINTS, np.full((5, 2), np.nan)])
    inside = crop_points(np.stack([BOX, BOX]), points, kind, 1.3, 64)
    assert np.isfinite(inside[0]).all()
    assert np.isnan(inside[1]).all()


def test_a_similarity_is_recovered_and_undone() -> None:
    points = torch.tensor(POINTS[None] / 150 - 1).float()
    turn = torch.tensor([[0.9, -0.2], [0.2, 0.9]])
    ref_points = points @ turn.T + torch.tensor([0.1, -0.05])
    place = similarity_between(points, ref_points)
    assert torch.allclose(place[0, :, :2], turn, atol=1e-5)
    assert torch.allclose(place[0, :, 2], torch.tensor([0.1, -0.05]), atol=1e-5)
    reference = dotted((ref_points[0].numpy() + 1) * 32, 64, 3)
    laid = lay_onto(torch.tensor(reference).permute(2, 0, 1)[None] / 255.0, place, (64, 64))
    shown = centres((laid[0].permute(1, 2, 0).numpy() * 255).round())
    assert np.abs(shown - (points[0, :3].numpy() + 1) * 32).max() < 0.5


def test_points_that_coincide_make_a_finite_map() -> None:
    place = similarity_between(torch.zeros(1, 5, 2), torch.rand(1, 5, 2))
    assert torch.isfinite(place).all()


def test_a_batch_has_faces_with_their_own_landmarks(tmp_path: Path) -> None:
    points = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6)])
    pixels = np.stack([[dotted((points + 0.01 * view) * 64, 64, 4) for view in range(3)]] * 4)
    faces = Curated(make_curated(tmp_path / "c", 4, 2, size=64, train=4, pixels=pixels))
    mirrored = set()
    pairs = Pairs(faces, 0, 4, TrainRefsr(), landmarks=True)
    for step in range(6):
        batch = pairs.batch(step, "cpu")
        assert batch.faces is not None
        assert batch.points is not None
        assert batch.faces.shape == (COPIES * 4, 3, 64, 64)
        shown = np.stack([centres(face) for face in batch.faces.permute(0, 2, 3, 1).numpy()])
        expected = (batch.points[:, :3].numpy() + 1) * 32
        swapped = bool(batch.points[0, 0, 0] < 0) is not bool(shown[0, 0, 0] < 32)
        mirrored.add(swapped)
        colours = [1, 0, 2] if swapped else [0, 1, 2]  # the eye on the left was on the right
        assert np.median(np.abs(shown[:, colours] - expected)) < 0.5
    assert mirrored == {True, False}


def test_the_error_counts_known_landmarks_only() -> None:
    torch.manual_seed(0)
    model = build({"model": "sisr", "variant": "compact", "hr_size": 32, "width": 16, "blocks": 1})
    lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 32, 32)
    points = torch.zeros(2, 5, 2)
    points[0, 0] = torch.nan
    known = model(lr, hr, None, hr, points).misplaced
    points[0, 0] = 0
    assert torch.isfinite(known)
    assert known != model(lr, hr, None, hr, points).misplaced
    assert model(lr, hr, None, hr, torch.full((2, 5, 2), torch.nan)).misplaced == 0


def test_a_locator_learns_where_dots_are() -> None:
    torch.manual_seed(0)
    locator = Locator(width=8)
    optimizer = torch.optim.Adam(locator.parameters(), 3e-3)
    shifts = torch.rand(64, 1, 2) * 0.4 - 0.2
    points = locator.usual + shifts
    faces = torch.stack(
        [torch.tensor(dotted((each.numpy() + 1) * 32, 64, 5)) / 255.0 for each in points]
    ).permute(0, 3, 1, 2)
    small = F.interpolate(faces, scale_factor=1 / 8, mode="bicubic", antialias=True)
    for _ in range(60):
        optimizer.zero_grad()
        (locator(small) - points).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert (locator(small) - points).abs().mean() < 0.3 * shifts.abs().mean()


def test_a_reference_of_any_size_is_laid_onto_the_face() -> None:
    torch.manual_seed(0)
    model = build({"model": "refsr", "variant": "compact", "hr_size": 32, "width": 16, "blocks": 1})
    for side in (32, 48, 96):
        sr = model.eval().upscale(torch.rand(2, 3, 4, 4), torch.rand(2, 2, 3, side, side))
        assert sr.shape == (2, 3, 32, 32)


def test_a_set_without_landmarks_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = make_curated(tmp_path / "c", train=3)
    table = pd.read_parquet(folder / "manifest.parquet")
    names = [name for name in table.columns if name.startswith("hr_p")]
    table.assign(**dict.fromkeys(names, np.nan)).to_parquet(folder / "manifest.parquet")
    with pytest.raises(RefsrError, match=r"no image has landmarks.*align: false"):
        Pairs(Curated(folder), 0, 2, landmarks=True)
    table.drop(columns=names).to_parquet(folder / "manifest.parquet")
    with pytest.raises(RefsrError, match=r"manifest.parquet: no column hr_p1x.*curate"):
        Pairs(Curated(folder), 0, 2, landmarks=True)
    Pairs(Curated(folder), 0, 2)


def test_images_of_several_sizes_are_seen_together() -> None:
    locator, small, large = Locator(width=8), torch.rand(2, 3, 8, 8), torch.rand(3, 3, 64, 64)
    apart = torch.cat([locator(small), locator(large)])
    torch.testing.assert_close(locator(small, large), apart)
