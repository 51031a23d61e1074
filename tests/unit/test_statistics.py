"""Means, intervals and tests, against hand values and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refsr.evaluation import statistics
from refsr.evaluation.conditions import DIFFERENCES, MAIN
from refsr.evaluation.metrics import METRICS

CHEAP = [name for name, metric in METRICS.items() if metric.every_condition]


def toy_table() -> pd.DataFrame:
    """Two people with one and three images.

    The right reference is 1 better than all others for a, 3 for b. Of the other conditions there
    is `refs_2`, a copy of the right one plus 0.5, for b alone.
    """
    people = (("a", [10.0], 1.0), ("b", [1.0, 2.0, 6.0], 3.0))
    rows = [
        {"person": person, "source": f"{person}{value}", "arm": condition}
        | dict.fromkeys(METRICS, value + gain * (condition == "ref_right"))
        for person, values, gain in people
        for value in values
        for condition in MAIN
    ]
    rows += [
        {"person": "b", "source": f"b{value}", "arm": "refs_2"} | dict.fromkeys(CHEAP, value + 3.5)
        for value in (1.0, 2.0, 6.0)
    ]
    return pd.DataFrame(rows)


def test_people_weigh_the_same_however_many_images_they_have() -> None:
    """Means of a and b are 10 and 3: 6.5, not the 4.75 of all four images."""
    summary = statistics.summarise(toy_table(), resamples=200, seed=0)
    assert summary["psnr"]["sisr"]["mean"] == 6.5
    assert (summary["psnr"]["sisr"]["low"], summary["psnr"]["sisr"]["high"]) == (3.0, 10.0)
    assert list(summary["psnr"]) == list(MAIN)


def test_differences_are_paired() -> None:
    """Gains of 1 and 3: a mean of 2, though the people themselves lie 7 apart;
    and the ranking is by gain.
    """
    summary = statistics.summarise(toy_table(), resamples=200, seed=0)
    for name in DIFFERENCES:
        assert summary["difference"][name]["identity"] == {"mean": 2.0, "low": 1.0, "high": 3.0}
        assert (
            summary["tests"][name]["identity"]["p"] == 0.5
        )  # of four sign patterns two are as extreme
    assert statistics.gains(toy_table()).to_dict() == {"a": 1.0, "b": 3.0}


def test_a_condition_that_is_absent_is_left_out() -> None:
    table = toy_table()
    summary = statistics.summarise(table[table["arm"] != "sisr"], resamples=200, seed=0)
    assert "sisr" not in summary["psnr"]
    assert "right_minus_sisr" not in summary["difference"]
    assert "right_minus_none" in summary["difference"]


def test_other_conditions_are_compared_with_the_right_one_on_their_own_images() -> None:
    result = statistics.other_conditions(toy_table(), resamples=200, seed=0)
    assert result["other_arms"]["refs_2"]["images"] == 3
    assert result["other_arms"]["refs_2"]["people"] == 1
    assert result["other_difference"]["refs_2"]["psnr"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    table = toy_table()
    assert statistics.other_conditions(table[table["arm"].isin(MAIN)], 200, 0) == {}


def test_bootstrap_interval_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    interval = statistics.bootstrap(values, 4000, seed=1)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval["mean"] == values.mean()
    assert interval["low"] == pytest.approx(values.mean() - half, abs=0.02)
    assert interval["high"] == pytest.approx(values.mean() + half, abs=0.02)
    assert statistics.bootstrap(values, 4000, seed=1) == interval


@pytest.mark.parametrize(("count", "shift"), [(8, 0.5), (13, 0.2), (40, 0.3)])
def test_sign_flip_agrees_with_scipy(count: int, shift: float) -> None:
    """Exactly where all patterns are tried, within the noise of 10,000 draws beyond."""
    values = np.random.default_rng(count).normal(shift, 1.0, count)
    expected = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    assert statistics.sign_flip(values, seed=0) == pytest.approx(
        expected, abs=1e-12 if count <= 13 else 0.015
    )


def test_sign_flip_never_says_zero() -> None:
    assert statistics.sign_flip(np.full(30, 1.0), seed=0) == pytest.approx(1 / 10_001)


def test_holm() -> None:
    """0.01 x 4; 0.02 x 3; 0.03 x 2 stays at the 0.06 before it; 0.5 x 1. Never above 1."""
    assert statistics.holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("right", "none", "wrong", "share"),
    [(3.0, 2.0, 1.0, 0.5), (3.0, 2.5, 1.0, 0.25), (1, 2, 0, 0), (3, 1, 2, 1)],
)
def test_break_even(right: float, none: float, wrong: float, share: float) -> None:
    """The share of wrong references where the mean of a mixture is that without any."""
    values = {"ref_right": right, "ref_none": none, "ref_wrong": wrong}
    rows = [
        {"person": person, "arm": condition, "psnr": value, "identity": value}
        for person in "abc"
        for condition, value in values.items()
    ]
    result = statistics.break_even(pd.DataFrame(rows), 100, 0)["identity"]
    assert result == pytest.approx({"mean": share, "low": share, "high": share})


def test_flatten() -> None:
    assert statistics.flatten({"a": {"b": {"c": 1}}, "d": 2.5, "e": "words"}) == {
        "a.b.c": 1.0,
        "d": 2.5,
    }
