"""Parts of the test set: who is in which, and the gap between them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.evaluation import slices
from refsr.evaluation.pairing import pairs


def test_groups_come_from_the_manifest(tmp_path: Path) -> None:
    """What the manifest does not have is no slice; an unknown sex is in no group;
    labels can be metric names.
    """
    faces = Curated(make_curated(tmp_path, identities=6, images=3))
    test = pairs(faces.table, 0)
    assert list(slices.groups(faces, test)) == ["sex", "ita"]
    count = len(faces.table)
    faces.table["yaw"] = np.resize([-40.0, 14.9, 15.0, np.nan], count)
    faces.table["sharpness"] = np.linspace(0, 1, count)
    faces.table["skin_tone"] = np.resize(["type I/II", "V"], count)
    faces.table.loc[faces.table["identity"] == "n000000", "sex"] = "?"
    result = slices.groups(faces, test).set_index(test["row"])
    assert list(result) == ["sex", "pose", "sharpness", "skin_tone", "ita"]
    assert result.loc[test["person"].eq("n000000").to_numpy(), "sex"].eq("").all()
    yaw = faces.table["yaw"].iloc[test["row"]]
    expected = yaw.map({-40.0: "30 and more", 14.9: "under 15", 15.0: "15 to 30"}).fillna("")
    assert result["pose"].tolist() == expected.tolist()
    assert set(result["skin_tone"]) == {"type I_II", "V"}
    assert result["sharpness"].value_counts().to_dict() == dict.fromkeys(slices.THIRDS, 6)
    assert result["sharpness"].iloc[0] == "lowest third"


def test_ita_is_lightness_over_yellowness() -> None:
    """White has L* 100 and b* 0: 90 degrees; black -90.

    Light skin lies above dark; the border does not count.
    """
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[:8] = 0
    assert slices.ita(picture) == pytest.approx(90.0, abs=1.0)
    assert slices.ita(np.zeros((32, 32, 3), np.uint8)) == pytest.approx(-90.0, abs=1.0)
    light, dark = (
        np.broadcast_to(np.array(rgb, np.uint8), (32, 32, 3))
        for rgb in ((240, 208, 188), (92, 58, 40))
    )
    assert slices.ita(light) > 40 > 0 > slices.ita(dark)


def toy(values: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A person per letter, an image per value of `ref_right`; the wrong reference is 1 lower."""
    rows = [
        {
            "person": person,
            "source": f"{person}{place}",
            "arm": condition,
            "psnr": value - low,
            "identity": value - low,
        }
        for person, each in values.items()
        for place, value in enumerate(each)
        for condition, low in (("ref_right", 0), ("ref_wrong", 1))
    ]
    return pd.DataFrame(rows)


def test_gap_between_two_groups_with_its_interval() -> None:
    """Women 10, men 13 with nothing else between them: a gap of 3, surely;
    the gain is 1 in both.
    """
    table = toy(dict.fromkeys("abc", (10.0, 10.0)) | dict.fromkeys("xyz", (13.0, 13.0)))
    labels = pd.DataFrame({"sex": ["female"] * 6 + ["male"] * 6})
    result = slices.by_slice(table, labels, 500, 0)["sex"]
    assert result["female"]["people"] == 3
    assert result["male"]["images"] == 6
    assert result["gap"]["between"] == "male minus female"
    assert result["gap"]["psnr"] == {"mean": 3.0, "low": 3.0, "high": 3.0}
    assert result["gap"]["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert result["male"]["gain"]["mean"] == 1.0


def test_a_person_in_two_groups_is_drawn_with_both() -> None:
    """Each person's turned image is 1 worse, whatever the person:
    the gap has no spread though the people have.
    """
    table = toy(
        {person: (base, base - 1) for person, base in zip("abcdef", range(10, 70, 10), strict=True)}
    )
    labels = pd.DataFrame({"pose": ["under 15", "30 and more"] * 6})
    result = slices.by_slice(table, labels, 500, 0)["pose"]
    assert result["gap"]["between"] == "30 and more minus under 15"
    assert result["gap"]["psnr"] == pytest.approx({"mean": -1.0, "low": -1.0, "high": -1.0})
    assert result["under 15"]["psnr"]["high"] - result["under 15"]["psnr"]["low"] > 10


def test_gaps_are_corrected_for_how_many_there_are() -> None:
    """The same slice again, under other names: the gap's interval grows, the groups' do not."""
    table = toy({person: (10.0 + number,) for number, person in enumerate("abcdefghijkl")})
    groups = ["left", "right"] * 6
    alone = slices.by_slice(table, pd.DataFrame({"one": groups}), 2000, 0)["one"]
    many = pd.DataFrame(dict.fromkeys(("one", "two", "three", "four"), groups))
    among = slices.by_slice(table, many, 2000, 0)["one"]
    assert among["left"] == alone["left"]
    for end, sign in (("low", -1), ("high", 1)):
        assert sign * among["gap"]["psnr"][end] > sign * alone["gap"]["psnr"][end]


def test_small_groups_and_unknown_labels_are_left_out() -> None:
    table = toy(dict.fromkeys("abcdefg", (1.0,)))
    labels = pd.DataFrame({"sex": ["female"] * 3 + ["male"] * 2 + [""] * 2})
    assert slices.by_slice(table, labels, 200, 0) == {}
