"""Each image that is left out has one reason, and each reason is met."""

import json
from pathlib import Path

import cv2
import pytest
from raw_trees import (
    PARAMS,
    curate_tree,
    draw,
    jpeg,
    make_raw,
    person,
    put,
    reasons,
    write_metadata,
)

from refsr.dataset.schema import REASONS
from refsr.errors import RefsrError


def faulty(raw: Path) -> dict[str, str]:
    """A tree with one image for each reason; source -> reason."""
    make_raw(raw, train=4, test=3, views=5)
    original = draw(1, 1)
    edge = jpeg(original)
    files = {
        "zero_byte": b"",
        "not_jpeg": bytes(cv2.imencode(".png", draw(1, 21))[1]),
        "truncated": edge[: len(edge) // 2],
        "tiny": jpeg(cv2.resize(original, (30, 30))),
        "no_box": jpeg(draw(1, 22)),
        "box_outside": jpeg(draw(1, 23)),
        "small_box": jpeg(draw(1, 24)),
        "extreme_pose": jpeg(draw(1, 25)),
        "blurred": jpeg(cv2.GaussianBlur(draw(1, 26), (0, 0), 9)),
        "near_duplicate": jpeg(original, quality=80),
        "wrong_person": jpeg(draw(3, 27)),
    }
    for number, data in enumerate(files.values(), 40):
        put(raw, "train", 1, f"{number:04d}_01", data)
    names = {reason: f"{person(1)}/{number:04d}_01" for number, reason in enumerate(files, 40)}
    put(raw, "test", 6, "0050_01", jpeg(draw(2, 3), quality=80))
    names["cross_duplicate"] = f"{person(6)}/0050_01"
    put(raw, "train", 90, "0001_01", jpeg(draw(90, 1)))
    names["too_few"] = f"{person(90)}/0001_01"
    boxes = {
        names["no_box"]: (),
        names["box_outside"]: (130, 10, 50, 50),
        names["small_box"]: (40, 40, 30, 60),
    }
    turned = {names["extreme_pose"]: (55, 45, 60, 45, 80, 62, 50, 80, 60, 80)}
    write_metadata(raw, "train", boxes, turned)
    write_metadata(raw, "test")
    return {
        f"{'test' if '6/' in name else 'train'}/{name}.jpg": reason
        for reason, name in names.items()
    }


def test_each_fault_has_its_reason_and_nothing_else_is_left_out(tmp_path: Path) -> None:
    expected = faulty(tmp_path / "raw")
    curated, rejects, summary = curate_tree(tmp_path / "raw")
    result = reasons(rejects)
    both_copies = {
        result.pop("train/n000001/0001_01.jpg", None),
        result.pop("train/n000001/0049_01.jpg", None),
    }
    assert both_copies == {"near_duplicate", None}  # either of the two may go
    assert result == {
        source: reason for source, reason in expected.items() if reason != "near_duplicate"
    }
    assert len(curated.table) + len(rejects) == 35 + len(expected)
    assert summary["rejects.blurred"] == 1
    assert set(rejects["reason"]) <= set(REASONS)


def test_an_identity_of_which_nothing_decodes_is_left_out(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    good = jpeg(draw(1, 1))
    frame = good.index(b"\xff\xc0")
    sized = (
        good[:frame] + good[frame : frame + 19] + b"\xff\xda\x00\x02\xff\xd9"
    )  # whole by its header alone
    lost = sorted((raw / "train" / person(1)).glob("*.jpg"))
    for path in lost:
        path.write_bytes(sized)
    _, rejects, _ = curate_tree(raw)
    assert reasons(rejects) == {f"train/{person(1)}/{path.name}": "truncated" for path in lost}


def test_rejects_say_what_was_measured(tmp_path: Path) -> None:
    faulty(tmp_path / "raw")
    rejects = curate_tree(tmp_path / "raw")[1].set_index("reason")
    assert rejects.loc["small_box", "value"] == 30
    assert rejects.loc["extreme_pose", "value"] > 75
    assert rejects.loc["blurred", "value"] < 0.25
    assert rejects.loc["tiny", "value"] == 30
    assert rejects.loc["too_few", "value"] == 1
    assert rejects.loc["cross_duplicate", "detail"] == "copy of train/n000002/0003_01.jpg"


def test_the_fitting_copy_stays_where_two_identities_hold_one_picture(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "train" / person(2) / "0003_01.jpg").replace(raw / "test" / person(6) / "0009_01.jpg")
    put(raw, "train", 2, "0009_01", jpeg(draw(2, 3), quality=70))
    for split in ("train", "test"):
        write_metadata(raw, split)
    assert reasons(curate_tree(raw)[1]) == {f"test/{person(6)}/0009_01.jpg": "cross_duplicate"}


def test_the_larger_copy_stays_within_an_identity(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    put(
        raw,
        "train",
        1,
        "0009_01",
        jpeg(cv2.resize(draw(1, 3), (240, 240), interpolation=cv2.INTER_CUBIC)),
    )
    write_metadata(
        raw, "train", {f"{person(1)}/0009_01": (60, 50, 120, 140)}, {f"{person(1)}/0009_01": ()}
    )
    assert reasons(curate_tree(raw)[1]) == {f"train/{person(1)}/0003_01.jpg": "near_duplicate"}


def test_a_tree_of_which_nothing_is_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    with pytest.raises(
        RefsrError, match="no identity is left for train; images left out: 35 small_box"
    ):
        curate_tree(raw, PARAMS.model_copy(update={"min_box": 61}))
    assert not (tmp_path / "curated-1" / "manifest.parquet").exists()


def test_planted_defects_are_scored(tmp_path: Path) -> None:
    expected = faulty(tmp_path / "raw")
    rows = [
        f"{source},{reason},"
        for source, reason in expected.items()
        if reason not in ("near_duplicate", "small_box")
    ]
    rows += [
        "train/n000001/0001_01.jpg,near_duplicate,train/n000001/0049_01.jpg",
        "train/n000001/0002_01.jpg,blurred,",
    ]
    (tmp_path / "raw" / "planted_defects.csv").write_text(
        "\n".join(["path,kind,detail", *rows]) + "\n"
    )
    curated, _, summary = curate_tree(tmp_path / "raw")
    assert json.loads((curated.folder / "summary.json").read_text())["rendered"] is True
    assert summary["precision.near_duplicate"] == summary["recall.near_duplicate"] == 1
    assert summary["precision.blurred"] == 1
    assert summary["recall.blurred"] == 0.5
    assert summary["recall.wrong_person"] == 1


def test_a_bad_line_of_the_planted_truth_is_named(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    (raw / "planted_defects.csv").write_text("path,kind,detail\na,b,c\na,b\n")
    with pytest.raises(RefsrError, match=r"planted_defects\.csv:3: "):
        curate_tree(raw)


def test_a_face_cut_by_the_border_is_left_out_with_the_share_that_is_missing(
    tmp_path: Path,
) -> None:
    raw = make_raw(tmp_path / "raw")
    write_metadata(raw, "train", {f"{person(1)}/0002_01": (90, 25, 60, 70)})
    rejects = curate_tree(raw)[1]
    assert reasons(rejects) == {f"train/{person(1)}/0002_01.jpg": "cut"}
    assert rejects["value"][0] == pytest.approx(0.5)


def test_a_folder_of_two_people_is_left_out_whole(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=8)
    for view in (1, 3, 5):
        put(raw, "train", 2, f"{view:04d}_01", jpeg(draw(40, view)))
    rejects = curate_tree(raw)[1]
    assert set(rejects["reason"]) == {"mixed_people"}
    assert (rejects["identity"] == person(2)).all()
    assert len(rejects) == 5
    folder = f"{person(2)} holds two people, of 3 and 2 images"
    parts = [f"{folder}; this one is of person {number}" for number in (1, 2)]
    assert sorted(rejects["detail"]) == [*[parts[0]] * 3, *[parts[1]] * 2]
