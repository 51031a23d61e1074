"""What an evaluation says of the compatibility score, against sums written out."""

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.evaluation import networks
from refsr.evaluation.compatibility import (
    compatibility,
    ratings,
    reliability,
)
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import Bench
from refsr.evaluation.scoring import Scorer
from refsr.evaluation.seeds import combine
from refsr.evaluation.statistics import flatten
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import (
    DIFFERENCES,
    Compatibility,
)
from refsr.reporting.compatibility import (
    compatibility_tables,
)
from refsr.reporting.summary import (
    compatibility_sentence,
)

NEVER, ALWAYS = -1e3, 1e3  # biases
GAINS = {
    "ref_none": 0.0,
    "ref_right": 2.0,
    "ref_wrong": -1.0,
    "ref_nearest": 0.5,
}


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("curated")
    faces = Curated(
        make_curated(folder, identities=4),
    )
    network = CompactRefsr(
        hr_size=32,
        scale=4,
        width=16,
        blocks=1,
    )
    models = networks.Models(
        {"refsr": network.eval()},
        4,
        "cpu",
    )
    test = pairs(faces.table, 0)
    return Bench(faces, models, Scorer("cpu"), test)


def _rate_by(bench: Bench, score: Compatibility | None) -> None:
    network = cast(CompactRefsr, bench.models.refsr)
    network.compatibility = score


def _measured(bench: Bench, bias: float, slope: float = -1.0) -> dict[str, Any]:
    """The evaluation where a wrong reference costs 1 dB, and 1 dB more of the first image."""
    weights = (slope,) * DIFFERENCES
    _rate_by(bench, Compatibility(weights, bias))
    rows = bench.test[["person", "source"]]
    parts = []
    for name, gain in GAINS.items():
        part = rows.assign(psnr=20 + gain)
        part["arm"] = name
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    place = 2 * len(rows)
    assert table.loc[place, "arm"] == "ref_wrong"
    table.loc[place, "psnr"] -= 1
    table["identity"] = 0.9
    return compatibility(ratings(bench, 3), table, 100, 0)


def _rated(bench: Bench) -> pd.DataFrame:
    return ratings(bench, 3)


def test_a_network_without_a_score_has_no_such_numbers(bench: Bench) -> None:
    _rate_by(bench, None)
    table = pd.DataFrame()
    assert not compatibility(ratings(bench, 3), table, 100, 0)
    assert compatibility_sentence({}) == ""
    assert not list(compatibility_tables({}))


def test_every_reference_is_rated_beside_its_image(bench: Bench) -> None:
    _measured(bench, 10.0)
    rated, test = _rated(bench), bench.test
    assert list(rated["source"]) == list(test["source"])
    assert rated["right"].mean() > rated["wrong"].mean()
    same = test["wrong"] == test["nearest"]
    assert same.any()
    alike = rated[same.to_numpy()]
    assert (alike["wrong"] == alike["nearest"]).all()


@pytest.mark.parametrize("bias", [NEVER, ALWAYS])
def test_a_cost_is_of_the_images_whose_reference_is_rated_so(bench: Bench, bias: float) -> None:
    metrics = _measured(bench, bias)
    expected = {
        "right": 2.0,
        "wrong": -1.125,
        "nearest": 0.5,
    }
    groups = ["misfitting", "fitting"]
    empty, full = groups if bias > 0 else groups[::-1]
    nobody = {"images": 0, "people": 0}
    for name, gain in expected.items():
        numbers = metrics["references"][name]
        share = numbers["fits"]["mean"]
        assert share == float(bias > 0)
        mean = numbers["all"]["psnr"]["mean"]
        assert mean == pytest.approx(gain)
        assert numbers[full] == numbers["all"]
        assert numbers[empty] == nobody
        assert numbers["all"]["images"] == 8
        assert numbers["all"]["people"] == 4


def test_the_area_is_the_share_of_wrong_references_below_the_right_ones(bench: Bench) -> None:
    metrics = _measured(bench, 10.0)
    rated = _rated(bench)
    right = rated["right"].to_numpy()
    wrong = rated["wrong"].to_numpy()
    below = (right[:, None] > wrong).mean()
    assert _area(metrics) == pytest.approx(below)
    turned = _measured(bench, -10.0, slope=1.0)
    assert _area(turned) == pytest.approx(1 - below)
    assert _area(_measured(bench, ALWAYS)) == 0.5
    assert "auc" not in metrics["references"]["right"]


def _area(metrics: dict[str, Any]) -> float:
    wrong = metrics["references"]["wrong"]
    return float(wrong["auc"]["mean"])


def test_reliability_is_score_and_share_by_bin() -> None:
    pairs = {
        0.05: False,
        0.15: True,
        0.5: True,
        0.9: True,
        0.95: True,
        1.0: False,
    }
    scores = np.array(list(pairs))
    right = np.array(list(pairs.values()))
    result = reliability(scores, right)
    assert result["bin_2"] == {"pairs": 0}
    assert result["bin_1"] == pytest.approx(
        {"pairs": 2, "score": 0.1, "right": 0.5},
    )
    assert result["bin_5"] == pytest.approx(
        {"pairs": 3, "score": 0.95, "right": 2 / 3},
    )
    gaps = 2 * 0.4 + 1 * 0.5 + 3 * (0.95 - 2 / 3)
    assert result["error"] == pytest.approx(gaps / 6)


def test_tables_and_sentence_say_the_numbers(bench: Bench) -> None:
    measured = _measured(bench, ALWAYS)
    metrics = {"compatibility": measured}
    tables = list(compatibility_tables(metrics))
    for table in tables:
        lengths = {len(row) for row in table.rows}
        assert lengths == {len(table.header)}
    references, scores = (each.rows for each in tables)
    names = [row[0] for row in references]
    assert names == ["right", "wrong", "nearest"]
    assert references[0][1] == ""
    assert references[1][3].startswith("-1.12 [")
    assert scores[0][0] == "0% to 20%"
    last = ["80% to 100%", "16", "1.00", "0.50"]
    assert scores[4] == last
    assert "error) is 0.500" in tables[1].note
    sentence = compatibility_sentence(metrics)
    assert "AUC 0.500" in sentence
    assert "100% of the wrong ones" in sentence
    assert "-1.12 [" in sentence


def test_where_no_wrong_reference_fits_the_sentence_says_so(bench: Bench) -> None:
    measured = _measured(bench, NEVER)
    metrics = {"compatibility": measured}
    sentence = compatibility_sentence(metrics)
    none = "; no wrong one is rated as fitting"
    assert sentence.endswith(none)


def test_seeds_that_rate_otherwise_are_still_combined(bench: Bench) -> None:
    data = {"split": "test"}
    each = [
        {
            "data": data,
            "compatibility": _measured(bench, bias),
        }
        for bias in (NEVER, ALWAYS)
    ]
    together = combine(each)
    numbers = list(flatten(together).values())
    assert np.isfinite(numbers).all()
    rated = together["compatibility"]
    wrong = rated["references"]["wrong"]
    assert wrong["fits"]["deviation"] > 0
    tables = list(compatibility_tables(together))
    assert len(tables) == 2
    assert compatibility_sentence(together)
