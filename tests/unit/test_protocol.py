"""The protocol: who is measured against whom, and how images become numbers with intervals."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.data.curated import Curated
from refsr.data.degrade import enlarge
from refsr.errors import RefsrError
from refsr.evaluation import protocol, statistics
from refsr.evaluation.statistics import ARMS, METRICS
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr, CompactSisr


class Copying:
    """A reference model that hands out its reference, and bicubic where it has none."""

    config: ClassVar[dict[str, Any]] = {"scale": 4, "hr_size": 32}

    def upscale(self, lr: torch.Tensor, ref: torch.Tensor | None = None) -> torch.Tensor:
        return enlarge(lr, (32, 32)) if ref is None else ref + 0.001


MODELS = protocol.Models(Copying(), Copying(), 4, "cpu")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """Five held-out identities with three images each, and two for training."""
    return Curated(make_curated(tmp_path_factory.mktemp("curated"), identities=7, images=3, train=2))


@pytest.fixture(scope="module")
def measured(faces: Curated) -> tuple[pd.DataFrame, dict[str, float]]:
    return protocol.measure(faces, MODELS, protocol.pairs(faces.table, 0), batch_size=4)


def test_only_images_of_the_test_split_are_paired(faces: Curated) -> None:
    test = protocol.pairs(faces.table, seed=0)
    rows = faces.table.iloc[test["row"]]
    assert len(test) == 5 * 3
    assert set(rows["split"]) == {"test"}
    assert set(rows["role"]) == {"image"}
    assert rows["identity"].tolist() == test["person"].tolist()


def test_right_and_wrong_references(faces: Curated) -> None:
    """The right one is the person's own; the wrong one is another's, and everybody's is used by one person."""
    test = protocol.pairs(faces.table, seed=0)
    table = faces.table
    assert set(table["role"].iloc[test["right"]]) == set(table["role"].iloc[test["wrong"]]) == {"reference"}
    assert table["identity"].iloc[test["right"]].tolist() == test["person"].tolist()
    assert table["identity"].iloc[test["wrong"]].tolist() == test["wrong_person"].tolist()
    assert (test["person"] != test["wrong_person"]).all()
    assert test.drop_duplicates("person")["wrong_person"].is_unique
    assert protocol.pairs(table, seed=0).equals(test)
    assert not protocol.pairs(table, seed=1).equals(test)


def test_wrong_references_do_not_depend_on_the_order_of_the_table(faces: Curated) -> None:
    turned = faces.table.iloc[::-1].reset_index(drop=True)
    first, second = (
        protocol.pairs(table, 0).drop_duplicates("person").set_index("person")["wrong_person"].to_dict()
        for table in (faces.table, turned)
    )
    assert first == second


def test_one_identity_is_too_few(faces: Curated) -> None:
    table = faces.table[faces.table["identity"].isin(["n000000", "n000002"])]
    with pytest.raises(RefsrError, match="1 identities with a reference; two are needed"):
        protocol.pairs(table, 0)


def test_outputs_are_clamped_and_rounded_to_8_bits() -> None:
    values = protocol.to_8_bits(torch.tensor([-0.5, 0.4999 / 255, 0.5001 / 255, 0.5, 1.5])) * 255
    assert values.tolist() == pytest.approx([0, 0, 1, 128, 255])


def test_each_arm_gets_its_own_inputs() -> None:
    lr, right, wrong = torch.rand(2, 3, 8, 8), torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32)
    outputs = protocol.restore(MODELS, lr, right, wrong)
    assert list(outputs) == list(ARMS)
    assert torch.equal(outputs["ref_right"], right)
    assert torch.equal(outputs["ref_wrong"], wrong)
    for arm in ("bicubic", "sisr", "ref_none"):
        assert torch.equal(outputs[arm], protocol.to_8_bits(enlarge(lr, (32, 32))))


def test_a_row_per_image_and_arm(faces: Curated, measured: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, _ = measured
    assert table["arm"].tolist() == list(ARMS) * 15
    assert table["source"].tolist()[::5] == protocol.pairs(faces.table, 0)["source"].tolist()
    assert np.isfinite(table[list(METRICS)].to_numpy()).all()


def test_batches_do_not_change_the_numbers(faces: Curated, measured: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, scale = protocol.measure(faces, MODELS, protocol.pairs(faces.table, 0), batch_size=15)
    assert np.allclose(table[list(METRICS)], measured[0][list(METRICS)], atol=1e-4)
    assert scale == pytest.approx(measured[1], abs=1e-4)


def test_psnr_of_an_arm_is_that_of_its_pixels(faces: Curated, measured: tuple[pd.DataFrame, dict[str, float]]) -> None:
    """The copying model's right arm is the reference itself, so that its PSNR follows from two stored images."""
    test = protocol.pairs(faces.table, 0)
    hr, ref = (faces.pixels(test[key].to_numpy()) / 255.0 for key in ("row", "right"))
    expected = -10 * np.log10(((hr - ref) ** 2).mean((1, 2, 3)))
    table = measured[0]
    assert table.loc[table["arm"] == "ref_right", "psnr"].to_numpy() == pytest.approx(expected, abs=1e-3)


def test_the_scale_of_identity_is_that_of_the_copies(measured: tuple[pd.DataFrame, dict[str, float]]) -> None:
    table, scale = measured
    copied = table.loc[table["arm"] == "ref_right", "identity"].mean()
    assert scale["same_person"] == pytest.approx(copied, abs=1e-4)
    assert scale["same_person"] > scale["strangers"]


def toy_table() -> pd.DataFrame:
    """Two people with one and three images; the right reference is 1 better than all others for a, 3 for b."""
    people = (("a", [10.0], 1.0), ("b", [1.0, 2.0, 6.0], 3.0))
    rows = [
        {"person": person, "arm": arm, **dict.fromkeys(METRICS, value + gain * (arm == "ref_right"))}
        for person, values, gain in people
        for value in values
        for arm in ARMS
    ]
    return pd.DataFrame(rows)


def test_people_weigh_the_same_however_many_images_they_have() -> None:
    """Means of a and b are 10 and 3: 6.5, not the 4.75 of all four images."""
    summary = statistics.summarise(toy_table(), resamples=200, seed=0)
    assert summary["psnr"]["sisr"]["mean"] == 6.5
    assert (summary["psnr"]["sisr"]["low"], summary["psnr"]["sisr"]["high"]) == (3.0, 10.0)


def test_differences_are_paired() -> None:
    """Gains of 1 and 3: a mean of 2, though the people themselves lie 7 apart; and the ranking is by gain."""
    summary = statistics.summarise(toy_table(), resamples=200, seed=0)
    for name in statistics.DIFFERENCES:
        assert summary["difference"][name]["identity"] == {"mean": 2.0, "low": 1.0, "high": 3.0}
    assert statistics.gains(toy_table()).to_dict() == {"a": 1.0, "b": 3.0}


def test_bootstrap_interval_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    interval = statistics.bootstrap(values, 4000, seed=1)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval["mean"] == values.mean()
    assert interval["low"] == pytest.approx(values.mean() - half, abs=0.02)
    assert interval["high"] == pytest.approx(values.mean() + half, abs=0.02)
    assert statistics.bootstrap(values, 4000, seed=1) == interval


def test_flatten() -> None:
    assert statistics.flatten({"a": {"b": {"c": 1}}, "d": 2.5}) == {"a.b.c": 1.0, "d": 2.5}


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "sisr", CompactSisr(hr_size=32, scale=4, width=16, blocks=1))
    save_model(tmp_path / "other", CompactRefsr(hr_size=32, scale=8, width=16, blocks=1))
    save_model(tmp_path / "refsr", CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    assert protocol.load_models(tmp_path / "sisr", tmp_path / "refsr", 32).scale == 4
    with pytest.raises(RefsrError, match="other: trained for scale 8, not 4"):
        protocol.load_models(tmp_path / "sisr", tmp_path / "other", 32)
    with pytest.raises(RefsrError, match="sisr: trained for hr_size 32, not 64"):
        protocol.load_models(tmp_path / "sisr", tmp_path / "refsr", 64)
    with pytest.raises(RefsrError, match="HR images of 16 pixels cannot be measured"):
        protocol.load_models(tmp_path / "sisr", tmp_path / "refsr", 16)
