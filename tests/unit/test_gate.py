"""The gate, against hand-written evaluations."""

import dataclasses
import math
from typing import Any

import pytest
from evaluations import evaluation

from refsr.config import Gate
from refsr.errors import RefsrError
from refsr.evaluation.conditions import DIFFERENCES
from refsr.evaluation.gate import check_gate
from refsr.evaluation.metrics import METRICS


def test_a_model_above_every_threshold_passes() -> None:
    verdict = check_gate(evaluation(), Gate())
    assert verdict.passed
    assert len(verdict.checks) == 10
    assert verdict.failures == []


@pytest.mark.parametrize(
    "name",
    [name for name in Gate.model_fields if not name.startswith("gap") and "champion" not in name],
)
def test_each_threshold_looks_at_its_own_interval(name: str) -> None:
    measure, other = name.split("_over_")
    metrics = evaluation()
    threshold = getattr(Gate(), name)
    metrics["difference"][f"right_minus_{other}"][measure]["low"] = threshold - 0.125
    verdict = check_gate(metrics, Gate())
    assert [check.name for check in verdict.checks if not check.passed] == [name]
    assert f"is 0.1250 below the threshold, {threshold:+.4f}" in verdict.failures[0]


def test_each_threshold_names_a_compared_metric_and_a_condition() -> None:
    for name in Gate.model_fields:
        metric, other = name.split("_over_")
        assert metric == "gap" or METRICS[metric].compared, name
        assert other == "champion" or f"right_minus_{other}" in DIFFERENCES, name


def test_of_a_metric_that_is_better_when_lower_a_gain_is_a_fall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lower = dataclasses.replace(METRICS["psnr"], higher_is_better=False)
    monkeypatch.setitem(METRICS, "psnr", lower)
    metrics = evaluation()
    for row in metrics["difference"].values():
        row["psnr"] = {"mean": -2.0, "low": -2.5, "high": -1.5}
    values = {
        check.name: check.value
        for check in check_gate(metrics, Gate(), [evaluation(psnr=27.0)]).checks
    }
    assert values["psnr_over_wrong"] == 1.5
    assert values["psnr_over_champion"] == pytest.approx(1.0)


def test_the_lower_end_counts_and_reaching_it_is_enough() -> None:
    metrics = evaluation()
    metrics["difference"]["right_minus_wrong"]["psnr"] = {"mean": 9.0, "low": 0.25, "high": 10.0}
    assert check_gate(metrics, Gate(psnr_over_wrong=0.25)).passed
    assert not check_gate(metrics, Gate(psnr_over_wrong=0.2501)).passed


def test_what_is_not_a_number_fails() -> None:
    metrics = evaluation()
    for value in (math.nan, math.inf):
        metrics["difference"]["right_minus_none"]["identity"]["low"] = value
        assert not check_gate(metrics, Gate()).passed


@pytest.mark.parametrize(("psnr", "passed"), [(26.0, True), (26.04, True), (26.06, False)])
def test_the_champion_is_compared_by_its_means(
    psnr: float,
    passed: bool,
) -> None:
    champion: dict[str, Any] = evaluation(psnr=psnr)
    verdict = check_gate(evaluation(psnr=26.0), Gate(), [champion], "version 3")
    assert verdict.passed is passed
    assert verdict.champion == "version 3"
    assert len(verdict.checks) == 12


def test_a_reference_that_does_not_count_is_refused() -> None:
    """As much with a wrong reference as with the right one: a gain over none, and of nobody."""
    metrics = evaluation()
    metrics["gap"]["right_minus_wrong"]["identity"] |= {"mean": 0.06, "low": 0.04, "high": 0.08}
    verdict = check_gate(metrics, Gate())
    assert [check.name for check in verdict.checks if not check.passed] == ["gap_over_wrong"]
    assert "gap_over_wrong: +0.0400 of the gap in identity" in verdict.failures[0]
    metrics = evaluation()
    metrics["difference"]["right_minus_wrong"]["identity"]["low"] = 0.0011
    (failed,) = check_gate(metrics, Gate()).failures
    assert failed.startswith("identity_over_wrong: +0.0011")


@pytest.mark.parametrize("metric", ["psnr", "identity"])
def test_a_model_below_the_single_image_network_is_refused(metric: str) -> None:
    metrics = evaluation()
    metrics["difference"]["right_minus_sisr"][metric]["low"] = -1e-4
    (failed,) = check_gate(metrics, Gate()).failures
    assert failed.startswith(f"{metric}_over_sisr")


def test_where_there_is_no_gap_its_share_is_not_checked() -> None:
    metrics = evaluation()
    for share in metrics["gap"].values():
        del share["identity"]
    assert len(check_gate(metrics, Gate()).checks) == 8
    del metrics["gap"]
    with pytest.raises(RefsrError, match=r"no number gap\.right_minus_wrong\.images"):
        check_gate(metrics, Gate())


def test_small_losses_do_not_add_up() -> None:
    """Each champion 0.04 dB below the one before: the second is refused."""
    scores = [26.0, 25.96, 25.92]
    first, second, third = (evaluation(psnr=psnr) for psnr in scores)
    assert check_gate(second, Gate(), [first]).passed
    (failed,) = check_gate(third, Gate(), [second, first]).failures
    assert failed.startswith("psnr_over_champion: -0.0800 dB")


def test_no_threshold_lets_a_model_fall_out_of_the_champions_own_interval() -> None:
    loose = Gate(psnr_over_champion=-9.0)
    assert check_gate(evaluation(psnr=25.51), loose, [evaluation(psnr=26.0)]).passed
    assert not check_gate(evaluation(psnr=25.49), loose, [evaluation(psnr=26.0)]).passed


def test_a_missing_number_is_named() -> None:
    metrics = evaluation()
    del metrics["difference"]["right_minus_sisr"]["identity"]
    with pytest.raises(RefsrError, match=r"no number difference\.right_minus_sisr\.identity\.low"):
        check_gate(metrics, Gate())


def test_the_verdict_can_be_written_as_json() -> None:
    document = check_gate(evaluation(), Gate()).to_dict()
    assert document["passed"] is True
    assert document["checks"][0] == {
        "name": "psnr_over_bicubic",
        "value": 1.5,
        "threshold": 0.0,
        "passed": True,
    }
