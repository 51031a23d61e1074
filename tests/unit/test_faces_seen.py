"""Where a face is looked for, and what is left out because none is seen: no face at all, or a hidden one."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from raw_trees import BOX, LANDMARKS, draw, embed_colour, jpeg, make_raw, person, put

from refsr.config import Curate
from refsr.data import quality, truth
from refsr.data.measurements import Detector
from refsr.steps.curate import face_probability, write_curated
from refsr.synthetic.defects import spoil_picture
from refsr.synthetic.people import view
from refsr.synthetic.plan import Shot
from refsr.synthetic.render import Frame, model, render

PARAMS = Curate(hr_size=32, min_sharpness=0.2, shard_images=16)


def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.array(BOX, float), np.array(LANDMARKS, float).reshape(5, 2)


def half_sure_of_dark_ones(chips: np.ndarray) -> np.ndarray:
    return np.where(chips.mean(axis=(1, 2, 3)) < 40, 0.49, 0.5)


def rejects(raw: Path, folder: Path, detector: Detector | None) -> pd.DataFrame:
    write_curated(PARAMS, raw, folder, embed_colour, 1, detector=detector)
    return pd.read_parquet(folder / "rejects.parquet")


def test_faces_are_looked_for_only_where_there_are_no_box_files_at_all(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    detector = Detector(find, half_sure_of_dark_ones)
    boxes = raw / "bb_landmark" / "loose_bb_train.csv"
    boxes.write_text("".join(line for line in boxes.read_text().splitlines(True) if "/0002_01" not in line))
    assert "no_box" in set(rejects(raw, tmp_path / "curated", detector)["reason"])
    shutil.rmtree(raw / "bb_landmark")
    assert "no_box" not in set(rejects(raw, tmp_path / "curated", detector)["reason"])


def test_what_the_detector_doubts_is_left_out_with_its_probability(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    dark = cv2.convertScaleAbs(draw(1, 2), alpha=0.2)
    put(raw, "train", 1, "0002_01", jpeg(dark))
    assert set(rejects(raw, tmp_path / "unasked", None)["reason"]) == {"wrong_person"}
    (left_out,) = rejects(raw, tmp_path / "asked", Detector(find, half_sure_of_dark_ones)).itertuples()
    assert left_out.source == f"train/{person(1)}/0002_01.jpg"
    assert (left_out.reason, left_out.value) == ("no_face", 0.49)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_face_is_told_from_one_behind_a_board_and_from_what_is_beside_it(seed: int) -> None:
    built, frame = model(seed), Frame(160, 180, 105.0, 80.0, 92.0)
    picture = render(built, view(seed, built.who), frame)
    shot = Shot("0001_01", seed, seed, frontal=True, frame=frame, quality=90, kind="occluded")
    hidden = spoil_picture(picture, shot, np.random.default_rng(seed))
    images = [picture.image, hidden.image, np.roll(hidden.image, 90, axis=1)]
    chips = np.stack([quality.face_chip(image, picture.box, picture.landmarks) for image in images])
    seen, behind, beside = face_probability(chips)
    assert seen > 0.9
    assert behind < 0.2
    assert beside < 0.5


def test_of_the_planted_truth_a_hidden_face_counts_as_none() -> None:
    planted = pd.DataFrame({"path": ["a", "b", "c"], "kind": ["no_face", "occluded", "occluded"], "detail": ""})
    found = pd.DataFrame({"source": ["a", "b", "d"], "reason": "no_face"})
    assert truth.score(planted, found) == {"precision.no_face": 2 / 3, "recall.no_face": 2 / 3}
