"""What an evaluation says of the compatibility score, against sums written out."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.evaluation import networks
from refsr.evaluation.compatibility import compatibility, ratings, reliability
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import Bench
from refsr.evaluation.scoring import Scorer
from refsr.evaluation.seeds import combine
from refsr.evaluation.statistics import flatten
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import DIFFERENCES, Compatibility
from refsr.reporting.compatibility import compatibility_tables
from refsr.reporting.summary import compatibility_sentence

NEVER, ALWAYS = -1e3, 1e3  # biases


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    torch.manual_seed(0)
    faces = Curated(make_curated(tmp_path_factory.mktemp("curated"), identities=4))
    network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1).eval()
    models = networks.Models({"refsr": network}, 4, "cpu")
    return Bench(faces, models, Scorer("cpu"), pairs(faces.table, 0))


def _measured(bench: Bench, bias: float, slope: float = -1.0) -> dict[str, Any]:
    """The evaluation where a wrong reference costs 1 dB, and 1 dB more of the first image."""
    bench.models.refsr.compatibility = Compatibility((slope,) * DIFFERENCES, bias)  # type: ignore[attr-defined]
    rows = bench.test[["person", "source"]]
    gains = {"ref_none": 0.0, "ref_right": 2.0, "ref_wrong": -1.0, "ref_nearest": 0.5}
    table = pd.concat([rows.assign(arm=arm, psnr=20 + gain) for arm, gain in gains.items()])
    first = (table["arm"] == "ref_wrong") & (table["source"] == rows["source"].iloc[0])
    table.loc[first, "psnr"] -= 1
    return compatibility(bench, table.assign(identity=0.9), 3, 100, 0)


def test_a_network_without_a_score_has_no_such_numbers(bench: Bench) -> None:
    bench.models.refsr.compatibility = None  # type: ignore[attr-defined]
    assert compatibility(bench, pd.DataFrame(), 3, 100, 0) == {}
    assert compatibility_sentence({}) == "" and not list(compatibility_tables({}))


def test_every_reference_is_rated_beside_its_image(bench: Bench) -> None:
    _measured(bench, 10.0)
    rated = ratings(bench, 3)
    assert rated is not None
    assert list(rated["source"]) == list(bench.test["source"])
    assert rated["right"].mean() > rated["wrong"].mean()
    same = bench.test["wrong"].to_numpy() == bench.test["nearest"].to_numpy()
    assert (rated["wrong"][same] == rated["nearest"][same]).all() and same.any()


@pytest.mark.parametrize(("bias", "share"), [(NEVER, 0.0), (ALWAYS, 1.0)])
def test_a_cost_is_of_the_images_whose_reference_is_rated_so(
    bench: Bench, bias: float, share: float
) -> None:
    metrics = _measured(bench, bias)
    for name, gain in {"right": 2.0, "wrong": -1.125, "nearest": 0.5}.items():
        numbers = metrics["references"][name]
        assert numbers["fits"]["mean"] == share
        assert numbers["all"]["psnr"]["mean"] == pytest.approx(gain)
        full, empty = ("fitting", "misfitting") if share else ("misfitting", "fitting")
        assert numbers[full] == numbers["all"] and numbers[empty] == {"images": 0, "people": 0}
    wrong = metrics["references"]["wrong"]
    assert (wrong["all"]["images"], wrong["all"]["people"]) == (8, 4)
    assert wrong["auc"]["mean"] == 0.5  # all ratings are the same


def test_the_area_is_the_share_of_wrong_references_below_the_right_ones(bench: Bench) -> None:
    metrics = _measured(bench, 10.0)
    rated = ratings(bench, 3)
    assert rated is not None
    right, wrong = rated["right"].to_numpy(), rated["wrong"].to_numpy()
    expected = (right[:, None] > wrong).mean()
    assert metrics["references"]["wrong"]["auc"]["mean"] == pytest.approx(expected)
    turned = _measured(bench, -10.0, slope=1.0)
    assert turned["references"]["wrong"]["auc"]["mean"] == pytest.approx(1 - expected)
    assert "auc" not in metrics["references"]["right"]


def test_reliability_is_score_and_share_by_bin() -> None:
    scores = np.array([0.05, 0.15, 0.5, 0.9, 0.9, 1.0])
    right = np.array([False, True, True, True, True, False])
    result = reliability(scores, right)
    assert result["bin_1"] == pytest.approx({"pairs": 2, "score": 0.1, "right": 0.5})
    assert result["bin_2"] == {"pairs": 0}
    assert result["bin_5"] == pytest.approx({"pairs": 3, "score": 2.8 / 3, "right": 2 / 3})
    assert result["error"] == pytest.approx((2 * 0.4 + 0.5 + 3 * (2.8 / 3 - 2 / 3)) / 6)


def test_tables_and_sentence_say_the_numbers(bench: Bench) -> None:
    metrics = {"compatibility": _measured(bench, ALWAYS)}
    references, scores = compatibility_tables(metrics)
    assert [row[0] for row in references.rows] == ["right", "wrong", "nearest"]
    for table in (references, scores):
        assert {len(row) for row in table.rows} == {len(table.header)}
    assert references.rows[1][3].startswith("-1.12 [") and references.rows[0][1] == ""
    assert [row[0] for row in scores.rows][::4] == ["0% to 20%", "80% to 100%"]
    assert scores.rows[4][1:] == ["16", "1.00", "0.50"]
    assert "error) is 0.500" in scores.note
    sentence = compatibility_sentence(metrics)
    assert "AUC 0.500" in sentence and "100% of the wrong ones are rated as fitting" in sentence
    assert "-1.12 [" in sentence
    none = compatibility_sentence({"compatibility": _measured(bench, NEVER)})
    assert none.endswith("no wrong one is rated as fitting")


def test_seeds_that_rate_otherwise_are_still_combined(bench: Bench) -> None:
    each = [
        {"data": {"split": "test"}, "compatibility": _measured(bench, bias)}
        for bias in (NEVER, ALWAYS)
    ]
    together = combine(each)
    assert np.isfinite(list(flatten(together).values())).all()
    assert together["compatibility"]["references"]["wrong"]["fits"]["deviation"] > 0
    assert len(list(compatibility_tables(together))) == 2
    assert compatibility_sentence(together)
