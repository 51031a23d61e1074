"""One image: what is refused and why, where the crop lies, and what the measures measure."""

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_trees import BOX, LANDMARKS, draw, jpeg

from refsr.curation import alignment, decoding, image_stats
from refsr.curation.decoding import Reject

WHOLE = jpeg(draw(1, 1))
POINTS = np.array(LANDMARKS, float).reshape(5, 2)


def progressive(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])


@pytest.mark.parametrize(
    "data", [WHOLE, progressive(draw(1, 1)), WHOLE + b"\x00" * 40, jpeg(draw(1, 1)[..., 0])]
)
def test_the_size_is_read_from_the_header(data: bytes) -> None:
    assert decoding.image_size(data) == (120, 120)


def test_an_exif_thumbnail_does_not_hide_a_cut() -> None:
    thumbnail = b"Exif\x00\x00" + jpeg(draw(1, 2))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    assert decoding.image_size(WHOLE[:2] + segment + WHOLE[2:]) == (120, 120)
    with pytest.raises(Reject, match="truncated"):
        decoding.image_size(WHOLE[:2] + segment + WHOLE[2:-200])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero_byte"),
        (bytes(cv2.imencode(".png", draw(1, 1))[1]), "not_jpeg"),
        (b"<html>", "not_jpeg"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:100], "truncated"),
        (WHOLE[:2], "truncated"),
        (jpeg(np.zeros((31, 90, 3), np.uint8)), "tiny"),
    ],
)
def test_what_is_not_a_whole_jpeg_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        decoding.image_size(data)
    assert caught.value.reason == reason


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    at = WHOLE.index(b"\xff\xc0")
    bomb = WHOLE[: at + 5] + (60000).to_bytes(2) * 2 + WHOLE[at + 9 :]
    with pytest.raises(Reject, match="oversized"):
        decoding.image_size(bomb)


def test_a_scan_that_does_not_decode_is_truncated() -> None:
    frame = WHOLE.index(b"\xff\xc0")
    with pytest.raises(Reject, match="truncated"):
        decoding.decode(WHOLE[:frame] + b"\xff\xda\x00\x02\xff\xd9", 1)


def test_boxes_are_clamped_and_those_outside_have_no_area() -> None:
    size = np.array([(100, 120)])
    np.testing.assert_array_equal(
        alignment.clamp_boxes(np.array([[-10, 90, 30, 60.0]]), size), [[0, 90, 20, 30]]
    )
    outside = np.array([[100, 5, 10, 10], [-20, 0, 20, 9], [5, 5, 0, 9]], float)
    assert (alignment.clamp_boxes(outside, size)[:, 2:].min(axis=1) <= 0).all()


def test_decoding_is_rgb_and_reduced_only_while_the_face_stays_large_enough() -> None:
    red = jpeg(np.full((64, 96, 3), (0, 0, 255), np.uint8))
    image, reduction = decoding.decode(red, 1.9)
    assert (image.shape, reduction) == ((64, 96, 3), 1)
    assert image[0, 0, 0] > 250 > 5 > image[0, 0, 2]
    image, reduction = decoding.decode(red, 4.5)
    assert (image.shape, reduction) == ((16, 24, 3), 4)
    assert image[0, 0, 0] > 250 > 5 > image[0, 0, 2]


def test_exif_rotation_is_ignored_as_boxes_are_in_stored_pixels() -> None:
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01"
        b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    data = jpeg(np.zeros((64, 96, 3), np.uint8))
    rotated = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (96, 64, 3)
    assert decoding.decode(rotated, 0.1)[0].shape == (64, 96, 3)


def test_the_crop_is_the_square_about_the_box() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, 20:60] = 255
    crop = alignment.square_crop(image, np.array([30.0, 30, 20, 40]), 1.0, 40)
    assert crop.shape == (40, 40, 3)
    assert crop.min() == 255
    assert alignment.square_crop(image, np.array([30.0, 30, 20, 40]), 1.5, 30).min() == 0


def test_beyond_the_border_the_image_is_reflected() -> None:
    image = np.tile(np.arange(40, dtype=np.uint8)[None, :, None], (40, 1, 3))
    crop = alignment.square_crop(image, np.array([0.0, 10, 20, 20]), 1.5, 30)
    np.testing.assert_array_equal(crop[0, :8, 0], [5, 4, 3, 2, 1, 0, 1, 2])


@pytest.mark.parametrize("size", [24, 71, 120, 150])
def test_crops_are_pillows_antialiased_bicubic(size: int) -> None:
    image = draw(1, 1)
    crop = alignment.square_crop(image, np.array([10.0, 20, 90, 60]), 1.0, size)
    pillow = np.asarray(
        Image.fromarray(image[5:95, 10:100]).resize((size, size), Image.Resampling.BICUBIC)
    )
    assert np.abs(crop.astype(int) - pillow).max() <= 1


def test_shrinking_is_antialiased() -> None:
    checks = np.repeat(np.indices((128, 128)).sum(axis=0)[..., None] % 2 * 255, 3, 2).astype(
        np.uint8
    )
    inside = alignment.square_crop(checks, np.array([0.0, 0, 128, 128]), 1.0, 32)[2:-2, 2:-2]
    assert np.ptp(inside) <= 1


def aligned(image: np.ndarray, points: np.ndarray, factor: float, size: int) -> np.ndarray:
    return next(alignment.aligned_crops([image], points[None], factor, size)).astype(int)


def test_an_aligned_crop_holds_the_landmarks_where_the_chip_has_them_whatever_roll_and_size() -> (
    None
):
    for turn, scale, size in ((0.0, 1.0, 150), (0.4, 1.7, 64)):
        way = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (POINTS - 60) @ way.T + 140
        image = np.zeros((300, 300, 3), np.uint8)
        cv2.circle(image, tuple(map(round, points[:2].mean(axis=0))), 5, (255, 255, 255), -1)
        crop = aligned(image, points, 1.25, size)
        centre = np.argwhere(crop[..., 0] > 200).mean(axis=0) * 150 / size
        assert centre == pytest.approx([46.6, 74], abs=4)
        wide = aligned(image, points, 2.5, size)
        centre = np.argwhere(wide[..., 0] > 200).mean(axis=0) * 150 / size
        assert centre == pytest.approx([75 + (46.6 - 75) / 2, 74.5], abs=3)


def test_an_aligned_crop_is_antialiased() -> None:
    checks = np.repeat(np.indices((300, 300)).sum(axis=0)[..., None] % 2 * 255, 3, 2).astype(
        np.uint8
    )
    assert np.ptp(aligned(checks, POINTS * 2 + 30, 1.25, 32)) <= 2


def test_a_crop_of_landmarks_in_nearly_one_place_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resample, sizes = alignment.resample, []

    def spy(image: np.ndarray, *size: int) -> np.ndarray:
        sizes.append(size)
        return resample(image, *size)

    monkeypatch.setattr(alignment, "resample", spy)
    image = np.full((300, 300, 3), 7, np.uint8)
    points = 150 + (POINTS - POINTS.mean(axis=0)) / np.ptp(POINTS, axis=0).max()
    assert (aligned(image, points, 1.25, 64) == 7).all()
    assert sizes == [(256, 256)]


def test_a_chip_holds_the_face_upright_whatever_its_roll_and_size() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    for turn, scale in ((0.0, 1.0), (0.4, 1.7)):
        way = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (POINTS - 60) @ way.T + 140
        image[:] = 0
        for x, y in points:
            cv2.circle(image, (round(x), round(y)), 4, (255, 255, 255), -1)
        chip = alignment.face_chip(image, np.array([0.0, 0, 300, 300]), points)
        assert chip.shape == (150, 150, 3)
        for x, y in ((47.5, 46.6), (100.5, 46.6)):  # eyes on dlib's mean face
            assert chip[round(y) - 9 : round(y) + 10, round(x) - 9 : round(x) + 10].max() > 200
        assert chip[:25].max() == 0


def test_without_landmarks_the_chip_is_the_square_about_the_box() -> None:
    image = draw(1, 1)
    chip = alignment.face_chip(image, np.array(BOX, float), np.full((5, 2), np.nan))
    np.testing.assert_array_equal(
        chip, alignment.square_crop(image, np.array(BOX, float), 1.25, 150)
    )


@pytest.mark.parametrize("degrees", [-60, -30, 0, 15, 45])
@pytest.mark.parametrize("roll", [0.0, 0.5])
def test_yaw_is_that_of_a_turned_head(degrees: float, roll: float) -> None:
    # Eyes 1 apart and the nose tip 0.6 before them, as the measure takes a head to be;
    # mouth in the plane of the eyes.
    head = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.5, 0.6], [-0.4, 1, 0], [0.4, 1, 0]])
    x = head[:, 0] * np.cos(np.radians(degrees)) + head[:, 2] * np.sin(np.radians(degrees))
    flat = np.stack([x, head[:, 1]], 1) @ np.array(
        [[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]
    )
    assert alignment.head_yaw(flat[None])[0] == pytest.approx(degrees, abs=0.01)


def test_yaw_is_unknown_without_landmarks() -> None:
    assert np.isnan(alignment.head_yaw(np.full((1, 5, 2), np.nan))).all()


def sharpness(image: np.ndarray) -> float:
    return float(image_stats.sharpness(image_stats.miniatures(image[None]))[0])


def difference_hash(image: np.ndarray) -> int:
    return int(image_stats.difference_hash(image_stats.miniatures(image[None]))[0])


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    image = draw(1, 1)
    dim = (image.astype(float) * 0.5 + 60).round().astype(np.uint8)
    values = [sharpness(cv2.GaussianBlur(image, (0, 0), s)) for s in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert sharpness(dim) == pytest.approx(sharpness(image), rel=0.1)
    assert sharpness(np.full((32, 32, 3), 9, np.uint8)) == 0


@pytest.mark.parametrize("size", [32, 50, 64, 96, 120])
def test_sharpness_is_what_a_blur_takes_of_the_variation(size: int) -> None:
    grey = image_stats.miniatures(cv2.resize(draw(1, 1), (size, size))[None])[0].astype(float)
    blurred = cv2.blur(grey, (5, 5), borderType=cv2.BORDER_REFLECT_101)
    before, after = (
        np.abs(np.diff(g, axis=0)).sum() + np.abs(np.diff(g, axis=1)).sum() for g in (grey, blurred)
    )
    assert sharpness(cv2.resize(draw(1, 1), (size, size))) == pytest.approx(1 - after / before)


@pytest.mark.parametrize("size", [32, 50, 64, 72, 100, 128, 150])
def test_what_is_measured_of_an_image_does_not_hang_on_those_beside_it(size: int) -> None:
    images = np.stack([cv2.resize(draw(person, 1), (size, size)) for person in range(1, 8)])
    grey = image_stats.miniatures(images)
    assert grey.shape[1:] == (min(size, 64),) * 2
    for row in range(7):
        np.testing.assert_array_equal(
            grey[row : row + 1], image_stats.miniatures(images[row : row + 1])
        )
        assert image_stats.sharpness(grey)[row] == sharpness(images[row])
        assert image_stats.difference_hash(grey)[row] == difference_hash(images[row])


def test_the_hash_has_a_bit_for_each_falling_step() -> None:
    falling = np.tile(np.linspace(255, 0, 90).astype(np.uint8)[None, :, None], (80, 1, 3))
    assert difference_hash(falling) == 2**64 - 1
    assert difference_hash(falling[:, ::-1]) == 0
    falling[:10] = falling[:10, ::-1]
    assert difference_hash(falling) == 2**56 - 1
