"""What is kept of a raw tree: pixels, metadata, and the same bytes from any worker count."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from people_trees import DETECTOR
from raw_trees import (
    PARAMS,
    SIZE,
    curate_tree,
    embed_colour,
    make_raw,
    person,
    put,
    reasons,
    write_metadata,
)

from refsr.curation import alignment, image_features, image_stats
from refsr.curation.curated_writer import write_curated
from refsr.curation.feature_columns import ImageFeatures
from refsr.curation.image_features import _extract_pixels
from refsr.dataset.curated import Curated
from refsr.dataset.schema import MANIFEST, REJECTS
from refsr.errors import RefsrError


def test_a_clean_tree_is_kept_whole(tmp_path: Path) -> None:
    curated, rejects, summary = curate_tree(make_raw(tmp_path / "raw"))
    table = curated.table
    assert len(rejects) == 0
    assert summary["images.train"] == 20
    assert summary["images.test"] == 15
    assert {key: str(dtype) for key, dtype in table.dtypes.items()} == {
        k: c.dtype for k, c in MANIFEST.items()
    }
    assert (table.groupby("identity")["split"].nunique() == 1).all()
    assert (table["role"] == "reference").groupby(table["identity"]).sum().eq(1).all()
    assert list(table.columns[:1]) + list(rejects.columns) == ["identity", *REJECTS]


def test_pixels_are_the_crops_of_their_sources(tmp_path: Path) -> None:
    curated, _, _ = curate_tree(make_raw(tmp_path / "raw"))
    for row in (0, 17, 34):
        entry = curated.table.iloc[row]
        image = cv2.imread(str(tmp_path / "raw" / entry["source"]))[..., ::-1]
        crop = alignment.square_crop(
            image, entry[["x", "y", "w", "h"]].to_numpy(float), PARAMS.crop_factor, 32
        )
        np.testing.assert_array_equal(curated.pixels(np.array([row]))[0], crop)
        grey = image_stats.miniatures(crop[None])
        assert image_stats.difference_hash(grey)[0] == entry["dhash"]
        assert image_stats.sharpness(grey)[0] == pytest.approx(entry["sharpness"])


def test_jpeg_shards_hold_nearly_the_same_pixels_on_less_disk(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    exact = curate_tree(raw, workers=1)[0]
    write_curated(
        PARAMS.model_copy(update={"shards": "jpeg"}), raw, tmp_path / "lossy", embed_colour, 1
    )
    lossy = Curated(tmp_path / "lossy")
    rows = np.array([34, 0, 17, 16, 17])
    assert lossy.hr_size == exact.hr_size == 32
    assert (lossy.is_lossy, exact.is_lossy) == (True, False)
    difference = np.abs(lossy.pixels(rows).astype(int) - exact.pixels(rows))
    assert 0 < difference.mean() < 3
    assert sorted(path.name for path in lossy.folder.glob("hr-*"))[:2] == [
        "hr-00000.jpgs",
        "hr-00000.npy",
    ]
    pd.testing.assert_frame_equal(lossy.table, exact.table)
    held = lossy.folder / "hr-00000.jpgs"
    held.write_bytes(held.read_bytes()[:-9])
    with pytest.raises(RefsrError, match=r"hr-00000\.jpgs: \d+ bytes, not \d+.*curate"):
        Curated(lossy.folder).pixels(rows)


def test_the_bytes_do_not_hang_on_the_worker_count(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=20, test=8)
    (one, _, _), (two, _, _) = curate_tree(raw, workers=1), curate_tree(raw, workers=2)
    names = sorted(path.name for path in one.folder.iterdir())
    assert len(names) == 12
    for name in names:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_few_images_are_decoded_at_a_time_whatever_is_left_out_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path / "raw", views=9)
    put(raw, "train", 1, "0003_01", b"no image")
    expected = curate_tree(raw)[0].table
    together: list[int] = []

    def extract(features: ImageFeatures, files: list[bytes], rows: list[int], *rest: Any) -> None:
        together.append(len(rows))
        _extract_pixels(features, files, rows, *rest)

    monkeypatch.setattr(image_features, "_BATCH_PIXELS", 3 * SIZE**2)
    monkeypatch.setattr(image_features, "_extract_pixels", extract)
    shutil.rmtree(tmp_path / "curated-1")
    pd.testing.assert_frame_equal(curate_tree(raw)[0].table, expected)
    assert max(together) == 3


def test_sex_is_filled_in_where_it_is_known(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "identity_meta.csv").write_text(
        'Class_ID, Name\nn000001, "A",1,1, f,\nn000002, "B",1,1, m\n'
    )
    sexes = curate_tree(raw)[0].table.groupby("identity")["sex"].first()
    assert sexes[:3].tolist() == ["f", "m", "?"]


def test_without_landmarks_yaw_is_unknown_and_nothing_else_fails(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    for path in (raw / "bb_landmark").glob("loose_landmark_*"):
        path.unlink()
    table = curate_tree(raw)[0].table
    assert len(table) == 35
    assert table["yaw"].isna().all()


def test_faces_are_detected_where_aligned_crops_lack_landmarks(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    for path in (raw / "bb_landmark").glob("loose_landmark_*"):
        path.unlink()
    params = PARAMS.model_copy(update={"crop": "aligned"})
    write_curated(params, raw, tmp_path / "set", embed_colour, 1, detector=DETECTOR)
    table = Curated(tmp_path / "set").table
    assert len(table) > 20
    assert table["yaw"].notna().all()


def test_an_empty_identity_folder_is_named_in_the_summary(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "train" / person(77)).mkdir()
    folder = curate_tree(raw)[0].folder
    assert json.loads((folder / "summary.json").read_text())["empty_identities"] == [person(77)]


def test_aligned_crops_want_landmarks(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    write_metadata(raw, "train", None, {f"{person(1)}/0002_01": ()})
    curated, rejects, _ = curate_tree(raw, PARAMS.model_copy(update={"crop": "aligned"}))
    assert reasons(rejects) == {f"train/{person(1)}/0002_01.jpg": "no_landmarks"}
    entry = curated.table.iloc[20]
    image = cv2.imread(str(raw / entry["source"]))[..., ::-1]
    points = (
        entry[[f"p{i}{axis}" for i in range(1, 6) for axis in "xy"]].to_numpy(float).reshape(5, 2)
    )
    crop = next(alignment.aligned_crops([image], points[None], PARAMS.crop_factor, 32))
    np.testing.assert_array_equal(curated.pixels(np.array([20]))[0], crop)
