"""The benchmark on photos: what it plants is what it says, and each kind is seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import photo_defects
import photo_faces
import photos
import pytest
from people_trees import make_people

from refsr.errors import RefsrError
from refsr.io import pictures
from refsr.synthetic import defects


def test_each_planted_image_lies_in_the_copy_and_the_set_stays_as_it_is(tmp_path: Path) -> None:
    raw = make_people(tmp_path / "raw", tuple(f"person {n}" for n in range(16)), views=5)
    before = sorted(raw.rglob("*"))
    planted = photo_defects.plant(raw, tmp_path / "copy", 8, seed=0)
    assert {one.kind for one in planted} == {
        *("wrong_person", "near_duplicate", "cross_duplicate", "blurred", "truncated", "no_face"),
        *("rotated", "bystander", "same_person", "mixed_people"),
    }
    assert all((tmp_path / "copy" / one.path).exists() for one in planted)
    turned = [one for one in planted if one.kind == "rotated"]
    data = [(tmp_path / "copy" / one.path).read_bytes() for one in turned]
    assert {pictures.orientation(each) for each in data} == {6}
    copies = {one.variant for one in planted if one.kind == "near_duplicate"}
    assert copies == set(photo_defects.COPIES)
    assert sorted(raw.rglob("*")) == before
    with pytest.raises(RefsrError, match=r"16 people have 3 or more images; --people 9 needs 17"):
        photo_defects.plant(raw, tmp_path / "more", 9, seed=0)
    with pytest.raises(RefsrError, match=r"0 people have 6 to 9 images"):
        photo_defects.plant(raw, tmp_path / "more", 8, seed=0, images=(6, 9))


def test_recall_and_precision_by_kind() -> None:
    planted = [
        photo_defects.Planted("wrong_person", "train/a/1.jpg"),
        photo_defects.Planted("wrong_person", "train/a/2.jpg"),
        photo_defects.Planted("wrong_person", "train/a/5.jpg"),
        photo_defects.Planted("near_duplicate", "train/a/3.jpg", "train/a/4.jpg", "scaled"),
        photo_defects.Planted("same_person", "train/b", "test/b the second"),
        photo_defects.Planted("bystander", "test/c/1.jpg", variant="right"),
        photo_defects.Planted("bystander", "test/c/2.jpg", variant="left"),
        photo_defects.Planted("rotated", "test/c/3.jpg"),
    ]
    reasons = {
        "train/a/1.jpg": "wrong_person",
        "train/a/4.jpg": "near_duplicate",
        "train/a/5.jpg": "small_box",  # left out before its face can be compared
        "train/b/1.jpg": "same_person",
        "test/d/1.jpg": "wrong_person",
        "test/d/2.jpg": "too_few",
    }
    rejects = pd.DataFrame({"source": reasons.keys(), "reason": reasons.values()})
    sources = ["train/a/2.jpg", "test/c/1.jpg", "test/c/2.jpg", "test/c/3.jpg", "test/d/3.jpg"]
    manifest = pd.DataFrame({"source": sources, "x": 10.0, "w": 20.0, "width": 100})
    scores = photos.score(planted, manifest, rejects)
    assert scores["planted.wrong_person"] == 2
    assert scores["recall.wrong_person"] == scores["precision.wrong_person"] == 0.5
    assert scores["recall.near_duplicate.scaled"] == scores["precision.near_duplicate"] == 1
    assert scores["recall.same_person"] == scores["recall.rotated"] == 1
    assert (scores["recall.bystander.right"], scores["recall.bystander.left"]) == (1, 0)
    assert (scores["clean"], scores["clean_lost"]) == (3, pytest.approx(1 / 3, abs=1e-3))


def test_a_chosen_face_is_wrong_where_another_one_is_the_folders() -> None:
    group = np.zeros((3, 4))
    faces = np.array([[0.5, 0, 0, 0], [0.1, 0, 0, 0], [0.9, 0, 0, 0]])
    assert photo_faces.is_nearest(faces, 1, group)
    assert not photo_faces.is_nearest(faces, 0, group)
    assert photo_faces.is_nearest(faces + 0.6, 0, group)  # none is within the limit
    boxes = np.array([[0, 0, 10, 10], [50, 0, 10, 10]])
    face = pd.Series({"source": "a", "x": 48.0, "y": 1.0, "w": 12.0, "h": 9.0})
    assert photo_faces.nearest_box(boxes, face) == 1


def test_rendered_people_stand_in_a_folder_each(tmp_path: Path) -> None:
    folder = photos.rendered(tmp_path / "rendered", 2)
    assert [len([*person.iterdir()]) for person in sorted(folder.iterdir())] == [5, 5]
    assert not [*(tmp_path / "rendered").rglob("loose_*")]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bystander_stands_beside_and_is_smaller(side: str) -> None:
    image, other = np.full((50, 40, 3), 9, np.uint8), np.full((50, 40, 3), 200, np.uint8)
    both = defects.beside(image, other, side)
    assert both.shape == (50, 72, 3)
    own = both[:, :40] if side == "right" else both[:, -40:]
    assert (own == 9).all()
