"""The share of the gap between no reference and true photos, against sums written out."""

import numpy as np
import pandas as pd
import pytest

from refsr.evaluation.gap import gap_closed

SOURCES = ["a1", "a2", "b1"]
PEOPLE = ["a", "a", "b"]
TRUE = pd.Series([0.97, 0.97, 0.93], index=SOURCES)


def table(**identities: list[float]) -> pd.DataFrame:
    """A row per condition and image; a number is both its identities, NaN: it has no such image."""
    parts = []
    for name, values in identities.items():
        rows = pd.DataFrame({"person": PEOPLE, "source": SOURCES, "identity": values})
        rows["arm"], rows["identity_ref"] = name, rows["identity"]
        parts.append(rows.dropna())
    return pd.concat(parts, ignore_index=True)


def test_shares_are_of_means_over_people() -> None:
    scores = table(ref_none=[0.89, 0.91, 0.90], ref_wrong=[0.88] * 3, ref_right=[0.92, 0.94, 0.91])
    result = gap_closed(scores, TRUE, 0.925, 200, 0)
    identity = (0.92 - 0.90) / (0.95 - 0.90)  # people's means: .93 and .91, of .97 and .93
    assert result["ref_right"]["identity"]["mean"] == pytest.approx(identity)
    assert result["ref_wrong"]["identity"]["mean"] == pytest.approx(-0.02 / 0.05)
    assert result["right_minus_wrong"]["identity"]["mean"] == pytest.approx(0.04 / 0.05)
    assert result["ref_right"]["tar"]["mean"] == pytest.approx(0.25)  # one of a's two images
    assert result["levels"]["tar"] == pytest.approx({"without": 0, "with": 0.25, "true": 1})
    assert (result["ref_right"]["images"], result["ref_right"]["people"]) == (3, 2)
    for measure in ("identity", "tar"):
        share = result["ref_right"][measure]
        assert share["low"] <= share["mean"] <= share["high"]
    assert "refs_4" not in result


def test_four_references_are_compared_on_the_images_that_have_them() -> None:
    scores = table(
        ref_none=[0.90, 0.80, 0.90],
        ref_wrong=[0.9] * 3,
        ref_right=[0.9] * 3,
        refs_4=[0.94, np.nan, 0.91],
    )
    result = gap_closed(scores, TRUE, 0.925, 200, 0)
    assert result["refs_4"]["images"] == 2
    assert result["refs_4"]["identity"]["mean"] == pytest.approx(0.025 / 0.05)


def test_without_a_gap_there_is_no_share() -> None:
    scores = table(ref_none=[0.98] * 3, ref_wrong=[0.9] * 3, ref_right=[0.99] * 3)
    result = gap_closed(scores, TRUE, 0.925, 200, 0)
    assert "identity" not in result["ref_right"] and "tar" not in result["ref_right"]
    assert result["levels"]["identity"]["without"] == pytest.approx(0.98)
    rarely = table(ref_none=[0.94] * 3, ref_wrong=[0.9] * 3, ref_right=[0.95] * 3)
    assert "identity" not in gap_closed(rarely, TRUE, 0.9, 200, 0)["ref_right"]  # of b alone
