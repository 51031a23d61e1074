"""Where a face is looked for, and what is left out because none is seen:
no face at all, or a hidden one.
"""

import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from raw_trees import BOX, LANDMARKS, draw, embed_colour, jpeg, make_raw, person, put

from benchmarks import nonfaces
from refsr.config import Curate
from refsr.curation import alignment, planted_defects
from refsr.curation.curated_writer import write_curated
from refsr.curation.extraction import Detector
from refsr.curation.face_models import face_probability
from refsr.errors import RefsrError
from refsr.synthetic.defects import spoil_picture
from refsr.synthetic.people import view
from refsr.synthetic.plan import Shot
from refsr.synthetic.render import Frame, model, render

PARAMS = Curate(hr_size=32, min_sharpness=0.2, shard_images=16)


def find(image: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([BOX], float), np.array(LANDMARKS, float).reshape(1, 5, 2)


def sure_of_bright_ones(chips: np.ndarray) -> np.ndarray:
    return np.where(chips.mean(axis=(1, 2, 3)) < 40, 0.49, 0.95)


def rejects(raw: Path, folder: Path, detector: Detector | None) -> pd.DataFrame:
    write_curated(PARAMS, raw, folder, embed_colour, 1, detector=detector)
    return pd.read_parquet(folder / "rejects.parquet")


def test_faces_are_looked_for_only_where_there_are_no_box_files_at_all(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    detector = Detector(find, sure_of_bright_ones)
    boxes = raw / "bb_landmark" / "loose_bb_train.csv"
    boxes.write_text(
        "".join(line for line in boxes.read_text().splitlines(True) if "/0002_01" not in line)
    )
    assert "no_box" in set(rejects(raw, tmp_path / "curated", detector)["reason"])
    shutil.rmtree(raw / "bb_landmark")
    assert "no_box" not in set(rejects(raw, tmp_path / "curated", detector)["reason"])


def test_what_the_detector_doubts_is_left_out_with_its_probability(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    dark = cv2.convertScaleAbs(draw(1, 2), alpha=0.2)
    put(raw, "train", 1, "0002_01", jpeg(dark))
    assert set(rejects(raw, tmp_path / "unasked", None)["reason"]) == {"wrong_person"}
    (left_out,) = rejects(raw, tmp_path / "asked", Detector(find, sure_of_bright_ones)).itertuples()
    assert left_out.source == f"train/{person(1)}/0002_01.jpg"
    assert (left_out.reason, left_out.value) == ("no_face", 0.49)


def unsure_of_person_2(chips: np.ndarray) -> np.ndarray:
    return np.where(
        chips[:, 75, 75].argmax(axis=1) == draw(2, 1)[60, 60, ::-1].argmax(), 0.94, 0.96
    )


def test_an_identity_without_a_certain_face_is_left_out(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    unsure = rejects(raw, tmp_path / "curated", Detector(find, unsure_of_person_2))
    assert set(unsure["reason"]) == {"no_reference"}
    assert person(2) in set(unsure["identity"])
    assert (unsure["value"] == 0.94).all()


def dies_at_red(image: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    if image[..., 0].min() > 200 > 50 > image[..., 1:].max():
        os.kill(os.getpid(), signal.SIGKILL)
    return find(image, smallest)


def test_an_image_at_which_a_worker_is_killed_is_left_out_of_the_next_run(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    shutil.rmtree(raw / "bb_landmark")
    put(raw, "train", 1, "0002_01", jpeg(np.full((120, 120, 3), (0, 0, 255), np.uint8)))
    detector = Detector(dies_at_red, sure_of_bright_ones)
    source = f"train/{person(1)}/0002_01.jpg"
    with pytest.raises(
        RefsrError, match=rf"killed while it decoded {source}, left out when you run again"
    ):
        write_curated(PARAMS, raw, tmp_path / "curated", embed_colour, 2, detector=detector)
    write_curated(PARAMS, raw, tmp_path / "curated", embed_colour, 2, detector=detector)
    table = pd.read_parquet(tmp_path / "curated" / "rejects.parquet").set_index("source")
    assert table.loc[source, "reason"] == "costly"
    assert not (tmp_path / "curated" / "work").exists()


@pytest.mark.parametrize("kind", nonfaces.KINDS)
def test_no_drawn_picture_is_taken_for_a_certain_face(kind: str) -> None:
    seen = nonfaces.probabilities(nonfaces.KINDS[kind], 150, seed=1)
    assert seen.max() < Curate().min_reference_probability
    assert (seen < Curate().min_face_probability).mean() >= 0.95


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_face_differs_from_one_behind_a_board_and_from_its_surroundings(seed: int) -> None:
    built, frame = model(seed), Frame(160, 180, 105.0, 80.0, 92.0)
    picture = render(built, view(seed, built.who), frame)
    shot = Shot("0001_01", seed, seed, frontal=True, frame=frame, quality=90, kind="occluded")
    hidden = spoil_picture(picture, shot, np.random.default_rng(seed))
    images = [picture.image, hidden.image, np.roll(hidden.image, 90, axis=1)]
    chips = np.stack(
        [alignment.face_chip(image, picture.box, picture.landmarks) for image in images]
    )
    seen, behind, beside = face_probability(chips)
    assert seen > 0.9
    assert behind < 0.2
    assert beside < 0.5


def test_of_the_planted_truth_a_hidden_face_counts_as_none() -> None:
    planted = pd.DataFrame(
        {"path": ["a", "b", "c"], "kind": ["no_face", "occluded", "occluded"], "detail": ""}
    )
    rejects = pd.DataFrame({"source": ["a", "b", "d"], "reason": "no_face"})
    kept = pd.DataFrame({"source": ["c"], "x": 1.0, "w": 2.0, "width": 9})
    assert planted_defects.score(planted, rejects, kept) == {
        "precision.no_face": 2 / 3,
        "recall.no_face": 2 / 3,
    }


def test_of_the_planted_truth_a_scene_is_to_be_kept_with_its_own_face() -> None:
    details = {"a": "right 7", "b": "left 7", "c": "left 7", "d": "right 7"}
    planted = pd.DataFrame({"path": details.keys(), "kind": "bystander"})
    planted["detail"] = details.values()
    planted.loc[4] = ["e", "rotated", ""]
    rejects = pd.DataFrame({"source": ["c", "d"], "reason": ["wrong_person", "surplus"]})
    kept = pd.DataFrame({"source": ["a", "b", "e"], "x": 1.0, "w": 2.0, "width": 9})
    assert planted_defects.score(planted, rejects, kept) == {
        "recall.bystander": 1 / 3,
        "recall.rotated": 1.0,
    }
