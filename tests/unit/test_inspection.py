"""The page of a curated set: small drawn trees with every kind of trouble that a file can have."""

import json
import re
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pages import pictures
from raw_trees import BOX, draw, embed_colour, jpeg, make_raw, put, write_metadata

from refsr.__main__ import main
from refsr.config import Curate
from refsr.curation.curated_writer import write_curated
from refsr.dataset.curated import Curated
from refsr.dataset.schema import REASONS, VALUES
from refsr.errors import RefsrError
from refsr.reporting import charts, inspection, inspection_tables
from refsr.reporting.page import jpeg_uri

TOO_SMALL = 20


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people to train with and three to test, with one image of each kind that is left out."""
    folder = make_raw(tmp_path_factory.mktemp("raw"))
    put(folder, "train", 1, "0011_01", b"")
    put(folder, "train", 1, "0012_01", cv2.imencode(".png", draw(1, 12))[1].tobytes())
    put(folder, "train", 2, "0013_01", jpeg(draw(2, 13))[:900])
    put(folder, "train", 2, "0014_01", jpeg(cv2.resize(draw(2, 14), (TOO_SMALL, TOO_SMALL))))
    put(folder, "train", 3, "0015_01", jpeg(draw(3, 15)))
    put(folder, "train", 3, "0016_01", jpeg(draw(3, 1), quality=80))  # a copy
    write_metadata(folder, "train", boxes={"n000003/0015_01": (60, 60, 30, 30)})
    return folder


@pytest.fixture(scope="module")
def curated(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "curated"
    params = Curate(
        hr_size=32, crop="loose", train_identities=4, test_identities=3, min_sharpness=0
    )
    write_curated(params, raw, folder, embed_colour, workers=1)
    return folder


@pytest.fixture
def mine(curated: Path, tmp_path: Path) -> Path:
    """A copy of the curated set to be spoiled."""
    return Path(shutil.copytree(curated, tmp_path / "mine"))


def _page(curated: Path, raw: Path | None = None) -> str:
    return inspection.inspect(Curated(curated), raw)


def test_every_reason_has_its_row_and_its_examples(curated: Path, raw: Path) -> None:
    """The counts of rejects.parquet; thumbnails of what decodes,
    for the rest a place that says why not.
    """
    rejects = pd.read_parquet(curated / "rejects.parquet")
    expected = {"zero_byte", "not_jpeg", "truncated", "tiny", "small_box", "near_duplicate"}
    assert expected <= set(rejects["reason"])
    page = _page(curated, raw)
    for reason, count in rejects["reason"].value_counts().items():
        row = re.search(rf"<tr><th>{reason}<br><small>(.*?)</small></th><td>(\d+)</td>", page)
        assert row is not None
        assert row.groups() == (REASONS[str(reason)], str(count))
        assert f"{min(count, inspection.EXAMPLES)} of {count}; " in page
    for problem in (
        "the file is empty",
        "begins with 89 50 4e 47",
        "900 bytes and no end of image",
    ):
        assert f'<div class="problem">{problem}</div>' in page
    without = _page(curated)
    copies = (rejects["reason"] == "near_duplicate").sum()
    shown = rejects[~rejects["reason"].isin(["zero_byte", "not_jpeg", "truncated"])]
    assert len(pictures(page)) - len(pictures(without)) == len(shown) + copies
    assert "--raw PATH_OR_URI" in without
    assert "--raw PATH_OR_URI" not in page


def test_a_reject_is_shown_with_its_box_and_a_copy_beside_its_original(
    curated: Path, raw: Path
) -> None:
    examples = inspection._examples(
        Curated(curated), pd.read_parquet(curated / "rejects.parquet"), raw, "vggface2"
    )
    (small,) = examples["small_box"]
    assert small.value == 30
    image = small.pictures[0].image
    assert image is not None
    assert image.shape == (120, 120, 3)
    frame = np.abs(image.astype(int) - inspection._FRAME).sum(axis=2) == 0
    assert np.argwhere(frame).min(0).tolist() == [60, 60]
    assert np.argwhere(frame).max(0).tolist() == [90, 90]
    (copy,) = examples["near_duplicate"]
    assert [picture.title for picture in copy.pictures] == ["left out", "original"]
    (tiny,) = examples["tiny"]
    assert tiny.pictures[0].image is not None
    assert tiny.pictures[0].image.shape == (TOO_SMALL, TOO_SMALL, 3)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_an_archive_is_shown_as_the_folder_it_holds(
    curated: Path, raw: Path, suffix: str, tmp_path: Path
) -> None:
    packed = tmp_path / f"raw{suffix}"
    with tarfile.open(packed, "w:gz" if suffix.endswith("gz") else "w") as archive:
        archive.add(raw, ".")
    assert _page(curated, packed) == _page(curated, raw)


def test_a_wrong_person_is_shown_beside_the_reference(mine: Path, raw: Path) -> None:
    rejects = pd.read_parquet(mine / "rejects.parquet").query("reason == 'small_box'")
    (example,) = inspection._examples(
        Curated(mine), rejects.assign(reason="wrong_person"), raw, "vggface2"
    )["wrong_person"]
    table = Curated(mine).table
    reference = np.flatnonzero((table["identity"] == "n000003") & (table["role"] == "reference"))
    assert example.pictures[1].image is not None
    assert np.array_equal(example.pictures[1].image, Curated(mine).pixels(reference)[0])


def test_large_images_are_reduced_and_their_boxes_too() -> None:
    scale = 8
    large = cv2.resize(draw(1, 1), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    boxes = pd.DataFrame(
        [np.array(BOX) * scale], index=["n000001/0001_01"], columns=["x", "y", "w", "h"]
    )
    image = inspection._look(jpeg(large), "train/n000001/0001_01.jpg", boxes, "left out").image
    assert image is not None
    assert image.shape == (inspection.THUMB, inspection.THUMB, 3)
    frame = np.abs(image.astype(int) - inspection._FRAME).sum(axis=2) == 0
    shrink = inspection.THUMB / 120
    assert np.argwhere(frame).min(0).tolist() == [round(BOX[1] * shrink), round(BOX[0] * shrink)]
    assert inspection._look(None, "gone.jpg", boxes, "left out").problem == "not in the raw set"


def test_people_stand_under_their_reference(curated: Path) -> None:
    """Every identity of so small a set, the reference first;
    its picture is the one of the shard.
    """
    opened = Curated(curated)
    page = _page(curated)
    shown = pictures(page)
    table = opened.table
    assert len(shown) == len(table)
    for split in inspection.SPLITS:
        for person in inspection._people(opened, table[table["split"] == split]):
            rows = table[table["identity"] == person.identity]
            assert person.images == len(rows) == len(person.pictures)
            reference = opened.pixels(rows.index[rows["role"] == "reference"].to_numpy())[0]
            assert person.pictures[0].image is not None
            assert np.array_equal(person.pictures[0].image, reference)
            assert jpeg_uri(reference) in shown


def test_few_of_many_are_chosen_at_equal_distances() -> None:
    assert inspection._evenly(100, 12).tolist() == [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]
    assert inspection._evenly(3, 12).tolist() == [0, 1, 2]
    assert inspection._evenly(0, 12).tolist() == []


@pytest.mark.parametrize(
    ("rendered", "words"),
    [(True, "The faces are rendered"), (False, "taken for photos"), (None, "does not say")],
)
def test_what_the_faces_are_is_said(mine: Path, rendered: bool | None, words: str) -> None:
    (mine / "summary.json").write_text(json.dumps({"rendered": rendered, "empty_identities": []}))
    assert words in _page(mine)


def test_scores_and_empty_identities_are_those_of_the_summary(mine: Path) -> None:
    page = _page(mine)
    assert "None: every folder" in page
    assert "precision" not in page
    summary = {
        "precision.tiny": 1.0,
        "recall.tiny": 0.25,
        "empty_identities": [f"n{i:06d}" for i in range(70)],
    }
    (mine / "summary.json").write_text(json.dumps(summary))
    page = _page(mine)
    row = re.search(r"<tr><th>tiny<br>.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert row[0].count("<td>1.00</td><td>0.25</td>") == 1
    assert "70 folders held no image" in page
    assert "and 10 more" in page


def test_names_and_details_are_escaped(mine: Path, raw: Path) -> None:
    rejects = pd.read_parquet(mine / "rejects.parquet")
    rejects.loc[0, ["source", "detail"]] = "<script>alert(1)</script>.jpg", "<b>"
    rejects.to_parquet(mine / "rejects.parquet")
    page = _page(mine, raw)
    pictures(page)
    assert "&lt;script&gt;alert(1)" in page


def test_without_landmarks_or_rejects_the_page_says_so(mine: Path) -> None:
    table = pd.read_parquet(mine / "manifest.parquet")
    table.assign(yaw=np.float32("nan")).to_parquet(mine / "manifest.parquet")
    pd.read_parquet(mine / "rejects.parquet").iloc[:0].to_parquet(mine / "rejects.parquet")
    page = _page(mine)
    assert "Nothing was measured." in page
    assert "<p>Nothing.</p>" in page
    assert "yaw nan" not in page


def test_histogram_places_in_percent() -> None:
    chart = charts.histogram({"a": np.array([1.0, 1, 2]), "b": np.array([2.0, 2, np.nan])})
    assert chart == {
        "low": 1.0,
        "high": 2.0,
        "median": 2.0,
        "most": 3,
        "bars": {
            "a": [
                {"left": 0.0, "width": 50.0, "top": 33.33, "height": 66.67},
                {"left": 50.0, "width": 50.0, "top": 66.67, "height": 33.33},
            ],
            "b": [{"left": 50.0, "width": 50.0, "top": 0.0, "height": 66.67}],
        },
    }
    assert charts.histogram({"a": np.array([np.nan])}) is None
    single = charts.histogram({"a": np.array([0.3])})
    assert single is not None
    assert single["bars"] == {"a": [{"left": 0.0, "width": 100.0, "top": 0.0, "height": 100.0}]}
    wide = charts.histogram({"a": np.linspace(0, 1, 640)})
    assert wide is not None
    assert len(wide["bars"]["a"]) == 32


def test_what_cannot_be_inspected_is_refused_by_name(mine: Path, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(RefsrError, match=r"nothing: no curated set here"):
        inspection.write(tmp_path / "nothing", tmp_path / "page.html")
    with pytest.raises(RefsrError, match=r"elsewhere: no such file or folder; .* --raw"):
        inspection.write(mine, tmp_path / "page.html", tmp_path / "elsewhere")
    with pytest.raises(RefsrError, match=r"mine: cannot be written: .* -o"):
        inspection.write(mine, mine, raw)
    (mine / "summary.json").write_text("{")
    with pytest.raises(RefsrError, match=r"summary.json: missing or damaged"):
        inspection.write(mine, tmp_path / "page.html")
    (mine / "rejects.parquet").write_bytes(b"PAR1")
    with pytest.raises(RefsrError, match=r"rejects.parquet: missing or damaged"):
        inspection.write(mine, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_writes_the_page(
    curated: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reports" / "inspect.html"
    assert main(["inspect", "--curated", str(curated), "--raw", str(raw), "-o", str(page)]) == 0
    assert page.read_text() == _page(curated, raw)
    assert str(page) in capsys.readouterr().out
    assert [path.name for path in page.parent.iterdir()] == ["inspect.html"]
    assert main(["inspect", "--curated", str(tmp_path), "-o", str(page)]) == 1
    assert "no curated set here" in capsys.readouterr().err


def test_a_value_has_the_name_and_the_limit_of_its_reason() -> None:
    """A limit is a parameter of curation; its message names the same quantity as the page."""
    assert set(VALUES) <= set(REASONS)
    assert {value.threshold for value in VALUES.values()} - {""} <= set(Curate.model_fields)
    limits = {
        "max_cut",
        "min_box",
        "max_yaw",
        "min_sharpness",
        "min_face_probability",
        "max_identity_distance",
    }
    assert limits <= {value.threshold for value in VALUES.values()}
    rejects = pd.DataFrame({"reason": ["no_face"], "value": [0.25]})
    (row,) = inspection_tables.reasons(rejects, {})
    assert (row["measure"], row["threshold"]) == ("probability of a face", "min_face_probability")
