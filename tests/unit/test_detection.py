"""Sets without box files: which face of an image is taken, and how an image is turned."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from people_trees import DETECTOR, PARAMS, make_people, sure
from PIL import Image
from raw_trees import BOX, LANDMARKS, draw, embed_colour

from refsr.curation import detection, duplicates, mixed_folders, outliers, same_person
from refsr.curation.curated_writer import write_curated
from refsr.curation.extraction import Detector
from refsr.curation.image_stats import thumbnail
from refsr.dataset.curated import Curated
from refsr.io import pictures
from refsr.layouts import base

RNG = np.random.default_rng(0)


def test_the_main_face_is_large_and_central() -> None:
    boxes = np.array([[0, 0, 30, 30], [45, 45, 28, 28], [70, 70, 60, 60], [40, 45, 20, 20]])
    order = detection.by_size_and_place(boxes.astype(float), 120, 120)
    assert order.tolist() == [2, 1, 0, 3]


def test_the_face_that_recurs_is_chosen_and_a_companion_that_recurs_is_not() -> None:
    owner, companion = np.eye(2)
    noise = lambda face: face + RNG.normal(0, 0.02, 2)  # noqa: E731
    passer_by = np.array([-1.0, -1.0])
    faces = [
        np.stack([noise(owner), noise(companion)]),
        np.stack([noise(owner), noise(companion)]),
        np.stack([passer_by, noise(owner)]),
        np.stack([noise(owner)]),
    ]
    assert detection.recurring(faces) == [0, 0, 1, 0]
    assert detection.recurring([faces[2], faces[3]]) == [1, 0]


def test_of_an_impostor_with_others_the_main_face_stays() -> None:
    owner = np.eye(8)[0]
    others = np.stack([np.eye(8)[1], np.eye(8)[2]])
    assert detection.recurring([owner[None], others, owner[None]]) == [0, 0, 0]


def bright_faces(image: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """The face that `draw` puts in the middle, and one in a corner that is more probable."""
    box, points = np.array(BOX, float), np.array(LANDMARKS, float).reshape(5, 2)
    shrink = 0.3
    return np.stack([box * shrink, box]), np.stack([points * shrink, points])


def test_a_bystander_does_not_take_a_persons_images(tmp_path: Path) -> None:
    raw = make_people(tmp_path / "raw")
    detector = Detector(bright_faces, sure)
    params = PARAMS.model_copy(update={"min_box": 5})
    write_curated(params, raw, tmp_path / "curated", embed_colour, 1, detector=detector)
    write_curated(PARAMS, raw, tmp_path / "alone", embed_colour, 1, detector=DETECTOR)
    names = ["manifest.parquet", "rejects.parquet"]
    for name in names:
        both = [pd.read_parquet(tmp_path / each / name) for each in ("curated", "alone")]
        pd.testing.assert_frame_equal(*both)


def turned(
    image: np.ndarray,
    orientation: int,
    kind: str,
) -> bytes:
    """A file whose EXIF turns it to what `image` shows, (H, W, 3) uint8 RGB."""
    back = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored = Image.fromarray(pictures.upright(image, back))
    stored.save(file, kind, exif=exif, lossless=True, quality=95)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_turned_upright_once(
    orientation: int,
    kind: str,
) -> None:
    image = cv2.resize(RNG.integers(0, 255, (3, 4, 3), np.uint8), (40, 32))
    data = turned(image, orientation, kind)
    assert pictures.orientation(data) == orientation
    stored = np.array(pictures.decode(data, ("JPEG", "PNG", "WEBP")))
    assert pictures.swaps_sides(orientation) == (stored.shape != image.shape)
    shown = pictures.upright(stored, pictures.orientation(data))
    assert shown.shape == image.shape
    assert np.abs(shown.astype(float) - image).mean() < 8


def test_rotated_images_give_the_crops_of_upright_ones(tmp_path: Path) -> None:
    for name in ("upright", "rotated"):
        raw = make_people(tmp_path / name)
        for number, path in enumerate(sorted(raw.glob("*/photo 2.jpg"))):
            image = cv2.cvtColor(draw(number + 20, 2)[:, :110], cv2.COLOR_BGR2RGB)
            orientation = number % 8 + 1 if name == "rotated" else 1
            path.unlink()
            path.with_suffix(".png").write_bytes(
                turned(np.ascontiguousarray(image), orientation, "PNG"),
            )
        write_curated(PARAMS, raw, tmp_path / f"of {name}", embed_colour, 1, detector=DETECTOR)
    upright, rotated = (Curated(tmp_path / f"of {name}") for name in ("upright", "rotated"))
    columns = ["identity", "source", "x", "y", "width", "height", "sharpness", "dhash"]
    pd.testing.assert_frame_equal(upright.table[columns], rotated.table[columns])
    rows = np.arange(len(upright.table))
    assert (upright.pixels(rows) == rotated.pixels(rows)).all()


def textured(seed: int) -> np.ndarray:
    """(150, 150, 3) uint8: blobs of a dozen pixels."""
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    return cv2.resize(coarse, (150, 150), interpolation=cv2.INTER_CUBIC)


def test_copies_are_seen_as_wholes_or_by_their_chips_and_what_surrounds_them() -> None:
    image, chip = textured(1), textured(2)
    views = [
        (image, chip),
        (image[30:, :120], chip),  # cropped
        (image[:, ::-1], chip[:, ::-1]),
        (textured(3), chip),  # the same face in another place
        (textured(6), textured(7)),
    ]
    faces = np.zeros(5, [(name, float) for name in (*base.BOX, "width", "height")])
    boxes = [(45, 50, 50, 50), (45, 20, 50, 50), (55, 50, 50, 50), *[(45, 50, 50, 50)] * 2]
    for name, values in zip(base.BOX, zip(*boxes, strict=True), strict=True):
        faces[name] = values
    for name, axis in (("height", 0), ("width", 1)):
        faces[name] = [whole.shape[axis] for whole, _ in views]
    thumbs = np.array([[thumbnail(np.ascontiguousarray(view)) for view in both] for both in views])
    embeddings = np.zeros((5, 2), np.float32)
    pairs, alike = duplicates.find_detected_copies(thumbs, embeddings, faces, 8)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert (alike > 0.9).all()
    embeddings[1] = 0.5  # another face
    assert duplicates.find_detected_copies(thumbs, embeddings, faces, 8)[0].tolist() == [[0, 2]]
    sought = np.array([False, False, True, True, False])
    wholes = {pair[:2] for pair in duplicates.find_whole_copies(thumbs, sought, 8)}
    assert wholes == {(2, 0)}  # mirrored, whatever its face; the other one has no copy


def people(count: int, images: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, 128) and the groups (N,) of people who are as far apart as dlib's."""
    centres = RNG.normal(0, 0.75 / np.sqrt(2 * 128), (count, 128))
    embeddings = np.repeat(centres, images, axis=0)
    embeddings = embeddings + RNG.normal(0, spread / np.sqrt(128), embeddings.shape)
    return embeddings.astype(np.float32), np.repeat(np.arange(count), images)


def test_one_person_under_two_names_is_left_out_of_the_earlier_split() -> None:
    embeddings, groups = people(40, 4, 0.3)
    groups[groups == 7] = np.array([7, 7, 40, 40])
    order = np.argsort(groups, kind="stable")
    embeddings, groups = embeddings[order], groups[order]
    assert [pair[:2] for pair in same_person.pairs(embeddings, groups)] == [(7, 40)]
    split = np.where(groups == 40, "test", "train")
    table = pd.DataFrame({"identity": [f"p{group:02d}" for group in groups], "split": split})
    table = table.assign(reason="", value=np.nan, detail="")
    same_person.mark_same_people(table, embeddings)
    left_out = table[table["reason"] != ""]
    assert set(left_out["identity"]) == {"p07"}
    assert set(left_out["reason"]) == {"same_person"}
    assert set(left_out["detail"]) == {"p07 is the person of p40 in test"}
    table = table.assign(split="train", reason="")
    same_person.mark_same_people(table, embeddings)
    assert (table["reason"] == "").all()


@pytest.mark.parametrize("images", [2, 20])
def test_two_names_of_few_images_are_as_near_as_two_of_many(images: int) -> None:
    """What the means of few images are apart by chance does not count."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(40, 32))[[*range(40), 7]]
        faces = np.repeat(centres, images, axis=0)
        faces += 0.7 * rng.normal(size=faces.shape)
        groups = np.repeat(np.arange(41), images)
        near = [pair[:2] for pair in same_person.pairs(faces.astype(np.float32), groups)]
        assert (7, 40) in near, seed


def test_in_a_folder_of_three_one_bad_face_does_not_take_the_good_ones() -> None:
    bad, good = np.array([[1.0, 0]]), np.array([[0.0, 0], [0.0, 0.1]])
    for group in (np.concatenate([bad, good]), np.concatenate([good, bad])):
        distance = outliers.distances(group, np.zeros(3, int))
        assert sorted(distance.round(2)) == [0.1, 0.1, 1.0]


def test_a_folder_whose_halves_are_as_far_apart_as_two_people_is_mixed() -> None:
    embeddings, groups = people(30, 6, 0.3)
    both = np.isin(groups, (4, 5))
    groups[both] = 4
    (mixed,) = same_person.mixed(embeddings, groups, max_distance=0.65)
    assert mixed.rows.tolist() == np.flatnonzero(both).tolist()
    assert len(mixed.second) == 6
    few = groups < 7
    assert same_person.mixed(embeddings[few], groups[few], 2.0) == mixed_folders.mixed(
        embeddings[few],
        groups[few],
        2.0,
    )


@pytest.mark.parametrize("total", [14, 24, 60])
def test_mixed_folders_of_a_small_set_do_not_hide_each_other(total: int) -> None:
    """Their differences are not learnt as what varies within a person."""
    embeddings, groups = people(total, 5, 0.3)
    for first in (0, 2, 4):
        groups[groups == first + 1] = first
    mixed = same_person.mixed(embeddings, groups, max_distance=0.65)
    assert [int(groups[folder.rows[0]]) for folder in mixed] == [0, 2, 4]
    assert [len(folder.second) for folder in mixed] == [5, 5, 5]
