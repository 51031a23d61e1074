"""The charts and pictures of the report, from numbers."""

import cv2
import numpy as np
import pandas as pd
import pytest
from evaluations import evaluation

from refsr.evaluation.conditions import CONDITIONS
from refsr.reporting import charts, figures, report, summary
from refsr.reporting.page import png


def test_strips_are_chosen_by_rank() -> None:
    people = pd.Series(np.arange(7.0), index=list("abcdefg"))
    assert report.ranked(people, 3) == {
        "best": ["g", "f", "e"],
        "median": ["c", "d", "e"],
        "worst": ["a", "b", "c"],
    }
    assert report.ranked(people, 99)["worst"] == list("abcdefg")
    assert report.grid_people(people, 4) == ["a", "c", "e", "g"]
    assert report.grid_people(people, 99) == list("abcdefg")


def test_the_reliability_curve_of_calibrated_samples_lies_on_the_grey_line() -> None:
    spreads = [2.0, 5.0, 10.0]
    calibrated = figures.reliability({str(x): {"predicted": x, "actual": x} for x in spreads})
    too_sure = figures.reliability({str(x): {"predicted": x / 2, "actual": x} for x in spreads})
    assert calibrated[160, 160].tolist() == list(figures.INK)  # the middle, where both are 5
    assert too_sure[160, 160].tolist() == list(figures.GREY)
    assert too_sure[160, 96].tolist() == list(figures.INK)  # 2.5 predicted, 5 seen


def test_the_sheet_holds_every_picture_enlarged() -> None:
    titles = [condition.short_title for condition in CONDITIONS.values()]
    picture = {title: np.full((32, 32, 3), 10 * i, np.uint8) for i, title in enumerate(titles)}
    sheet = figures.sheet([figures.Strip("a", "b", "a/1.jpg", picture, {})] * 2)
    for i in range(len(titles)):
        assert (sheet == 10 * i).all(2).sum() >= 2 * 64 * 64


def test_close_ups_show_the_eyes_even_at_the_border() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:8, 24:] = 200
    eyes = {"HR": (30, 2)}
    strip = figures.Strip("a", "b", "a/1.jpg", {"HR": picture}, {}, eyes)
    plain, close = (figures.sheet([strip], close=each) for each in (False, True))
    lit = [int((each == 200).all(2).sum()) for each in (plain, close)]
    assert lit == [16 * 16, 16 * 16 + 32 * 32]


def test_png_round_trip() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    read = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.array_equal(read[..., ::-1], picture)


def test_forest_places_in_percent() -> None:
    chart = charts.forest({"a": {"mean": 2.0, "low": 1.0, "high": 4.0}}, [0.0], sign=True)
    texts = ["0", "+1", "+2", "+3", "+4"]
    assert chart == {
        "ticks": [{"place": 25.0 * number, "text": text} for number, text in enumerate(texts)],
        "marks": [0.0],
        "rows": {"a": {"left": 25.0, "width": 75.0, "dot": 50.0}},
    }


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (20.3, 23.1, ["20", "21", "22", "23", "24"]),
        (-0.0123, 0.0311, ["-0.02", "0.00", "0.02", "0.04"]),
        (0.4862, 0.7060, ["0.4", "0.5", "0.6", "0.7", "0.8"]),
        (3.0, 3.0, ["3", "4"]),
        (0.0, 0.0, ["0.0", "0.5"]),
        (0.0, 4000.0, ["0", "1000", "2000", "3000", "4000"]),
    ],
)
def test_ticks_are_round_and_hold_both_ends(low: float, high: float, expected: list[str]) -> None:
    numbers, digits = charts.ticks(low, high)
    assert [format(number, f".{digits}f") for number in numbers] == expected
    assert numbers[0] <= low and high <= numbers[-1]


def test_a_ranking_is_a_bar_a_person_around_zero() -> None:
    chart = charts.ranking([3.0, -1.0])
    assert (chart["low"], chart["high"], chart["zero"]) == ("-2", "+4", 66.67)
    least, most = chart["bars"]
    assert (least["top"], least["height"]) == (66.67, 16.67)
    assert (most["left"], most["top"], most["height"]) == (50.0, 16.67, 50.0)


def test_wrong_share_is_a_line_from_right_to_wrong() -> None:
    """Right 10, wrong 6, none 9: the line falls from top to bottom and meets none, a quarter down,
    at a quarter.
    """
    means = {"ref_right": 10.0, "ref_wrong": 6.0, "ref_none": 9.0}
    metrics = {
        "psnr": {condition: {"mean": mean} for condition, mean in means.items()},
        "break_even": {"psnr": {"mean": 0.25}},
    }
    expected = {"low": 6.0, "high": 10.0, "line": "0,0.0 100,100.0", "none": 25.0, "mark": 25.0}
    assert charts.wrong_share(metrics, "psnr") == expected


def test_calibration_is_drawn_on_equal_axes() -> None:
    bins = {
        "bin_01": {"predicted": 0.0, "actual": 5.0},
        "bin_02": {"predicted": 10.0, "actual": 20.0},
    }
    chart = charts.calibration(bins)
    assert chart == {"high": 20.0, "line": "0.0,75.0 50.0,0.0"}


def test_bicubic_is_not_in_charts_of_differences() -> None:
    metrics = evaluation()
    chart = report._difference_chart(metrics, "psnr")
    shown = {"sisr", "ref_none", "ref_wrong"}
    assert set(chart["rows"]) == shown
    rows = metrics["difference"]
    key = "right_minus_bicubic"
    alone = {"difference": {key: rows[key]}}
    chart = report._difference_chart(alone, "psnr")
    assert set(chart["rows"]) == {"bicubic"}


def test_a_difference_of_identity_is_a_share() -> None:
    scale = {"same_person": 0.96, "strangers": 0.88}
    difference = {
        "mean": 0.02,
        "low": -0.0001,
        "high": 0.04,
    }
    metrics = {"identity_scale": scale}
    text = summary.meaning(metrics, difference)
    assert text == (
        "In identity that is 25% [0, 50] of the way "
        "from true photos of two people (0.8800) "
        "to two of one person (0.9600)."
    )
    scale["same_person"] = 0.88  # they do not tell
    text = summary.meaning(metrics, difference)
    assert text == ""
