"""Of images that could all be kept: whose are taken, how many,
and which of them is the reference.
"""

import shutil
from pathlib import Path

import cv2
import pandas as pd
from raw_trees import PARAMS, curate_tree, draw, jpeg, make_raw, person, put, write_metadata

from refsr.curation.preview import preview
from refsr.curation.selection import most_candidates


def test_no_more_images_and_identities_than_asked_for(tmp_path: Path) -> None:
    limits = {"train_images": {"min": 2, "max": 3}, "test_images": {"min": 1, "max": 2}}
    params = PARAMS.model_validate(
        PARAMS.model_dump() | limits | {"train_identities": 2, "test_identities": 1}
    )
    curated, rejects, _ = curate_tree(make_raw(tmp_path / "raw"), params)
    counts = curated.table.groupby(["split", "identity"]).size()
    assert counts["train"].tolist() == [3, 3]
    assert counts["test"].tolist() == [3]
    assert rejects["reason"].value_counts().to_dict() == {"unselected": 20, "surplus": 6}
    assert len(curated.table) + len(rejects) == 35


def test_of_many_images_only_candidates_are_taken_and_only_their_crops_are_kept(
    tmp_path: Path,
) -> None:
    limits = {"train_images": {"min": 2, "max": 2}, "test_images": {"min": 1, "max": 1}}
    params = PARAMS.model_validate(PARAMS.model_dump() | limits)
    raw = make_raw(tmp_path / "raw", train=2, test=2, views=24)
    curated, rejects, _ = curate_tree(raw, params)
    others = rejects[rejects["detail"].str.startswith("no candidate")]
    assert (others["reason"] == "surplus").all()
    most = most_candidates(params)
    assert (24 - others["identity"].value_counts()).between(4, most).all()
    assert curated.table["identity"].value_counts().tolist() == [2] * 4
    assert preview(params, str(raw))["bytes of scratch disk"] == 4 * most * 3 * 32**2


def test_test_images_are_those_that_look_least_like_the_reference(tmp_path: Path) -> None:
    params = PARAMS.model_validate(PARAMS.model_dump() | {"test_images": {"min": 1, "max": 2}})
    curated, rejects, _ = curate_tree(make_raw(tmp_path / "raw"), params)
    images = curated.table[curated.table["split"] == "test"]
    assert (images["role"] == "image").groupby(images["identity"]).sum().eq(2).all()
    assert (images.loc[images["role"] == "reference", "appearance"] == 0).all()
    surplus = rejects[rejects["reason"] == "surplus"]
    for key, group in images[images["role"] == "image"].groupby("identity"):
        assert (
            group["appearance"].min() >= surplus.loc[surplus["identity"] == key, "value"].max() > 0
        )


def test_the_reference_is_near_frontal_and_of_these_the_sharpest(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", views=3)
    soft = {name: jpeg(cv2.GaussianBlur(draw(1, 9), (0, 0), 3)) for name in ("0001_01", "0002_01")}
    for name, data in soft.items():
        put(
            raw,
            "train",
            1,
            name,
            data if name == "0001_01" else jpeg(cv2.GaussianBlur(draw(1, 8), (0, 0), 0.8)),
        )
    put(raw, "train", 1, "0003_01", jpeg(draw(1, 7)))
    turned = {f"{person(1)}/0003_01": (45, 45, 75, 45, 70, 62, 48, 80, 72, 80)}
    write_metadata(raw, "train", None, turned)
    table = curate_tree(raw)[0].table.set_index("source")
    assert abs(table.loc[f"train/{person(1)}/0003_01.jpg", "yaw"]) > 20
    assert table.loc[f"train/{person(1)}/0002_01.jpg", "role"] == "reference"


def test_a_face_at_the_border_is_no_reference_while_there_is_a_whole_one(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", views=3)
    cut = {f"{person(1)}/{view:04d}_01": (70, 25, 60, 70) for view in (1, 3)}
    write_metadata(raw, "train", cut)
    table = curate_tree(raw)[0].table
    references = table[table["role"] == "reference"].set_index("identity")["source"]
    assert references[person(1)] == f"train/{person(1)}/0002_01.jpg"


def test_without_two_roots_the_splits_are_drawn_and_disjoint(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=7, test=0)
    first = curate_tree(raw)[0].table
    shutil.rmtree(tmp_path / "curated-1")
    again = curate_tree(raw)[0].table
    splits = first.groupby("identity")["split"].agg(["nunique", "first"])
    assert (splits["nunique"] == 1).all()
    assert set(splits["first"]) == {"train", "test"}
    pd.testing.assert_frame_equal(first, again)
    (tmp_path / "other").mkdir()
    raw.rename(tmp_path / "other" / "raw")
    other = curate_tree(tmp_path / "other" / "raw", PARAMS.model_copy(update={"seed": 3}))[0].table
    assert not other.groupby("identity")["split"].first().equals(splits["first"])


def test_an_identity_measured_in_a_later_round_makes_up_for_one_that_fell_out(
    tmp_path: Path,
) -> None:
    raw = make_raw(tmp_path / "raw", train=9, test=2)
    params = PARAMS.model_copy(update={"train_identities": 3, "test_identities": 2})
    chosen = curate_tree(raw, params)[0].table.query("split == 'train'")["identity"].unique()
    for path in (raw / "train" / chosen[0]).iterdir():
        path.write_bytes(b"")
    table = curate_tree(raw, params)[0].table.query("split == 'train'")
    assert table["identity"].nunique() == 3
    assert chosen[0] not in set(table["identity"])
    assert set(chosen[1:]) < set(table["identity"])
