"""Rendered photos without boxes: bystanders, rotated images, people under two names."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refsr.config import Curate, Synthesize
from refsr.curation.curated_writer import write_curated
from refsr.curation.face_models import DETECTOR, embed_faces
from refsr.io import jpeg, pictures
from refsr.synthetic import defects
from refsr.synthetic.dataset import write_raw
from refsr.synthetic.plan import KINDS, MIXED, OF_BOXES, SAME, SCENES, plan

PARAMS = Synthesize(
    train_identities=8,
    test_identities=4,
    views=3,
    min_size=110,
    max_size=140,
    defects=0,
    scenes=3,
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "raw"
    write_raw(PARAMS, folder, workers=1)
    return folder


def test_scenes_are_planned_beside_the_defects_that_need_no_box() -> None:
    folders = plan(PARAMS.model_copy(update={"defects": 2}))
    kinds = Counter(shot.kind for folder in folders for shot in folder.shots)
    defects = set(KINDS) - set(OF_BOXES)
    scenes = dict.fromkeys(SCENES, 3) | {SAME: 3 * 3, MIXED: 2 * 6, "": 12 * 3 + 3 * 3}
    assert kinds == dict.fromkeys(defects, 2) | scenes
    first, second = folders[-2:]
    assert (first.split, second.split) == ("train", "test")
    assert {shot.person for shot in (*first.shots, *second.shots)} == {first.person}
    assert {shot.detail for shot in first.shots} == {second.identity}
    views = [shot.view for folder in (first, second) for shot in folder.shots]
    assert len(set(views)) == len(views)


def test_curation_keeps_scenes_and_leaves_out_second_names(raw: Path, tmp_path: Path) -> None:
    """By the real detector and identity network."""
    everybody = Curate(
        hr_size=32,
        train_identities="all",
        test_identities="all",
        validation_identities=0,
        min_sharpness=0.17,
    )
    scores = write_curated(everybody, raw, tmp_path, embed_faces, 1, detector=DETECTOR)
    for name in ("recall.bystander", "recall.rotated", "recall.same_person"):
        assert scores[name] == 1, name
    rejects = pd.read_parquet(tmp_path / "rejects.parquet")
    assert set(rejects["reason"]) == {SAME}
    assert scores["precision.same_person"] == 1


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_rotated_image_is_the_upright_one(orientation: int) -> None:
    image = np.repeat(np.arange(40 * 24, dtype=np.uint8).reshape(40, 24, 1) % 200, 3, axis=2)
    data = defects.rotated(image, 100, orientation)
    assert pictures.orientation(data) == orientation
    stored = jpeg.decode(data, 1)
    turned = pictures.upright(stored, orientation)
    assert turned.shape == image.shape
    assert np.abs(turned.astype(int) - image).mean() < 8
