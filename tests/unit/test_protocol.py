"""The protocol: who is measured against whom, and how images become numbers with intervals."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import FAITHFUL, make_curated

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge
from refsr.dataset.tensors import to_8_bits
from refsr.errors import RefsrError
from refsr.evaluation import networks, protocol
from refsr.evaluation.conditions import OTHERS, conditions_of
from refsr.evaluation.metrics import METRICS
from refsr.evaluation.outputs import Outputs
from refsr.evaluation.pairing import pairs
from refsr.evaluation.scoring import Scorer
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr, CompactSisr

MEASURED = [name for name in METRICS if name != "lpips"]  # which needs weights
CHEAP = [name for name, metric in METRICS.items() if metric.every_condition]


class Copying:
    """Hands out the mean of its references, and bicubic, darkened by a draw, without any."""

    config: ClassVar[dict[str, Any]] = {"scale": 4, "hr_size": 32}
    draws_samples = True

    def upscale(
        self, lr: torch.Tensor, ref: torch.Tensor | None = None, *, temperature: float = 0.0
    ) -> torch.Tensor:
        if ref is None:
            return enlarge(lr, (32, 32)) - 0.1 * temperature
        return (ref.mean(1) if ref.dim() == 5 else ref) + 0.001


MODELS = networks.Models({"sisr": Copying(), "refsr": Copying()}, 4, "cpu")  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """Five held-out identities with three images each, and two for training."""
    return Curated(
        make_curated(tmp_path_factory.mktemp("curated"), identities=7, images=3, train=2)
    )


@pytest.fixture(scope="module")
def bench(faces: Curated) -> protocol.Bench:
    return protocol.Bench(faces, MODELS, Scorer("cpu"), pairs(faces.table, 0))


@pytest.fixture(scope="module")
def measured(bench: protocol.Bench) -> protocol.Measured:
    return protocol.measure(bench, batch_size=4)


def test_only_images_of_the_test_split_are_paired(faces: Curated) -> None:
    test = pairs(faces.table, seed=0)
    rows = faces.table.iloc[test["row"]]
    assert len(test) == 5 * 3
    assert set(rows["split"]) == {"test"}
    assert set(rows["role"]) == {"image"}
    assert rows["identity"].tolist() == test["person"].tolist()


def test_right_and_wrong_references(faces: Curated) -> None:
    """The right one is the person's own; the wrong one is another's,
    and everybody's is used by one person.
    """
    test = pairs(faces.table, seed=0)
    table = faces.table
    assert (
        set(table["role"].iloc[test["right"]])
        == set(table["role"].iloc[test["wrong"]])
        == {"reference"}
    )
    assert table["identity"].iloc[test["right"]].tolist() == test["person"].tolist()
    assert table["identity"].iloc[test["wrong"]].tolist() == test["wrong_person"].tolist()
    assert (test["person"] != test["wrong_person"]).all()
    assert test.drop_duplicates("person")["wrong_person"].is_unique
    assert pairs(table, seed=0).equals(test)
    assert not pairs(table, seed=1).equals(test)


def test_wrong_references_do_not_depend_on_the_order_of_the_table(faces: Curated) -> None:
    turned = faces.table.iloc[::-1].reset_index(drop=True)
    first, second = (
        pairs(table, 0).drop_duplicates("person").set_index("person")["wrong_person"].to_dict()
        for table in (faces.table, turned)
    )
    assert first == second


def test_one_identity_is_too_few(faces: Curated) -> None:
    table = faces.table[faces.table["identity"].isin(["n000000", "n000002"])]
    with pytest.raises(RefsrError, match="1 identities with a reference; two are needed"):
        pairs(table, 0)


def test_outputs_are_clamped_and_rounded_to_8_bits() -> None:
    values = to_8_bits(torch.tensor([-0.5, 0.4999 / 255, 0.5001 / 255, 0.5, 1.5])) * 255
    assert values.tolist() == pytest.approx([0, 0, 1, 128, 255])


def test_more_references_are_the_persons_own_and_never_the_image_itself(faces: Curated) -> None:
    """Three images beside the reference: two are left beside the held-out one,
    and a fourth reference is missing.
    """
    test, table = pairs(faces.table, 0), faces.table
    for name in ("second", "third"):
        assert table["identity"].iloc[test[name]].tolist() == test["person"].tolist()
        assert (test[name] != test["row"]).all()
        assert (test[name] != test["right"]).all()
    assert (test["second"] != test["third"]).all()
    assert (test["fourth"] == -1).all()


def test_lookalikes_are_other_people_and_the_nearest_is_nearer(bench: protocol.Bench) -> None:
    test, table = bench.test, bench.curated.table
    unit = torch.nn.functional.normalize(bench.known)
    of_row = dict(zip(bench.references["right"], unit, strict=True))
    for pair in test.to_dict("records"):
        assert table["identity"].iloc[pair["nearest"]] != pair["person"]
        own = of_row[pair["right"]]
        others = [float(own @ each) for row, each in of_row.items() if row != pair["right"]]
        assert float(own @ of_row[pair["nearest"]]) == pytest.approx(max(others))
        assert float(own @ of_row[pair["farthest"]]) == pytest.approx(min(others))


def test_each_condition_gets_its_own_inputs(bench: protocol.Bench) -> None:
    batch = bench.test.iloc[:2]
    lr = torch.rand(2, 3, 8, 8)
    outputs = {}
    for name, condition in bench.conditions(batch).items():
        ref = protocol.references_of(bench.curated, condition, batch, lr)
        outputs[name] = protocol.restore(MODELS, condition, lr, ref, 32)
    assert "refs_4" not in outputs
    plain = enlarge(lr, (32, 32))
    for name in ("right", "wrong", "nearest", "farthest"):
        ref = protocol.images(bench.curated, batch[name].to_numpy(), "cpu")
        assert torch.equal(outputs[f"ref_{name}"], ref + 0.001)
    both = [
        protocol.images(bench.curated, batch[column].to_numpy(), "cpu")
        for column in ("right", "second")
    ]
    assert torch.allclose(outputs["refs_2"], (both[0] + both[1]) / 2 + 0.001)
    for name in ("bicubic", "sisr", "ref_none"):
        assert torch.equal(outputs[name], plain)
    assert torch.equal(outputs["ref_gaussian"], plain - 0.1)
    assert torch.allclose(outputs["ref_lr"], to_8_bits(plain) + 0.001)


def test_a_network_that_draws_by_a_mode_is_asked_for_it() -> None:
    class Published(Copying):
        config: ClassVar[dict[str, Any]] = {"mode": "reference"}

        def upscale(
            self, lr: torch.Tensor, ref: torch.Tensor | None = None, *, mode: str = ""
        ) -> torch.Tensor:  # type: ignore[override]
            return torch.full((1, 3, 32, 32), {"gaussian": 0.25, "": 0.5}[mode])

    models = networks.Models({"refsr": Published()}, 4, "cpu")  # type: ignore[dict-item]
    drawn = protocol.restore(models, OTHERS["ref_gaussian"], torch.rand(1, 3, 8, 8), None, 32)
    assert drawn.unique().tolist() == [0.25]


def test_another_model_gets_three_conditions_and_a_missing_one_none() -> None:
    named = conditions_of(["refsr", "release"])
    assert [name for name in named if name.startswith("release")] == [
        "release_none",
        "release_wrong",
        "release_right",
    ]
    assert named["release_wrong"].title == "release, wrong reference"
    assert "sisr" not in named
    assert list(conditions_of(["sisr", "refsr"])) == [*FAITHFUL, *OTHERS]


def test_a_row_per_image_and_condition(faces: Curated, measured: protocol.Measured) -> None:
    table = measured.table
    sources = pairs(faces.table, 0)["source"].tolist()
    for name in [*FAITHFUL, *OTHERS]:
        rows = table[table["arm"] == name]
        assert rows["source"].tolist() == ([] if name == "refs_4" else sources), name
        assert np.isfinite(rows[MEASURED if name in FAITHFUL else CHEAP].to_numpy()).all(), name
    assert table.loc[table["arm"].isin(OTHERS), "perceptual"].isna().all()
    assert set(measured.identity) == set(measured.texture) == {"hr", *FAITHFUL}
    assert measured.texture["ref_right"].shape == (15, 512)


def test_batches_do_not_change_the_numbers(
    bench: protocol.Bench, measured: protocol.Measured
) -> None:
    key = ["arm", "source"]
    again = protocol.measure(bench, batch_size=15).table.sort_values(key)
    table = measured.table.sort_values(key)
    assert np.allclose(again[MEASURED], table[MEASURED], atol=1e-4, equal_nan=True)


def test_psnr_of_a_condition_is_that_of_its_pixels(
    faces: Curated, measured: protocol.Measured
) -> None:
    """The copying model's right condition is the reference itself,
    so that its PSNR follows from two stored images.
    """
    test = pairs(faces.table, 0)
    hr, ref = (faces.pixels(test[key].to_numpy()) / 255.0 for key in ("row", "right"))
    expected = -10 * np.log10(((hr - ref) ** 2).mean((1, 2, 3)))
    right = measured.table[measured.table["arm"] == "ref_right"]
    assert right["psnr"].to_numpy() == pytest.approx(expected, abs=1e-3)
    assert right["identity_ref"].to_numpy() == pytest.approx(np.ones(15), abs=1e-4)
    assert right["psnr_paper"].to_numpy() == pytest.approx(right["psnr_y"].to_numpy(), abs=1e-3)


class Breaking(Copying):
    def __init__(self, value: float) -> None:
        self.value = value

    def upscale(
        self, lr: torch.Tensor, ref: torch.Tensor | None = None, *, temperature: float = 0.0
    ) -> torch.Tensor:
        output = super().upscale(lr, ref, temperature=temperature)
        if ref is not None:
            output[1:, :, 3, 3] = self.value
        return output


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_no_number_stops_the_evaluation(faces: Curated, value: float) -> None:
    models = networks.Models({"refsr": Breaking(value)}, 4, "cpu")  # type: ignore[dict-item]
    spoilt = protocol.Bench(faces, models, Scorer("cpu"), pairs(faces.table, 0)[:3])
    source = spoilt.test["source"].iloc[1]
    with pytest.raises(RefsrError, match=f"{source}: the output of RefSR, wrong reference holds"):
        protocol.measure(spoilt, batch_size=4)


def test_a_metric_that_is_no_number_stops_the_evaluation(
    bench: protocol.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(outputs: Outputs) -> torch.Tensor:
        return METRICS["ssim"].measure(outputs) / torch.zeros(1)

    spoilt = dataclasses.replace(METRICS["psnr"], measure=broken)
    monkeypatch.setitem(METRICS, "psnr", spoilt)
    with pytest.raises(RefsrError, match=r"n00.*: psnr of bicubic is inf, which is no number"):
        protocol.measure(bench, batch_size=4)


def test_equal_and_flat_images_have_numbers(tmp_path: Path) -> None:
    """One image for all, of one colour: every output is the true image."""
    pixels = np.full((3, 3, 32, 32, 3), 128, np.uint8)
    flat = Curated(make_curated(tmp_path / "flat", identities=3, images=2, pixels=pixels))
    same = protocol.measure(
        protocol.Bench(flat, MODELS, Scorer("cpu"), pairs(flat.table, 0)), batch_size=6
    )
    bicubic = same.table[same.table["arm"] == "bicubic"]
    assert bicubic["psnr"].tolist() == pytest.approx([58.92] * 6, abs=0.01)
    for name, value in (("ssim", 1), ("identity", 1), ("perceptual", 0)):
        assert bicubic[name].tolist() == pytest.approx([value] * 6, abs=1e-4)


def test_the_scale_of_identity_is_that_of_the_copies(
    bench: protocol.Bench, measured: protocol.Measured
) -> None:
    scale = bench.identity_scale(measured.identity["hr"])
    copied = measured.table.loc[measured.table["arm"] == "ref_right", "identity"].mean()
    assert scale["same_person"] == pytest.approx(copied, abs=1e-4)
    assert scale["same_person"] > scale["strangers"]


def test_the_reference_set_of_kid_is_of_other_people(bench: protocol.Bench) -> None:
    features, name = bench.true_images(5, seed=0)
    assert features.shape == (5, 512)
    assert name == "5 true images of the training split, other people"
    assert bench.true_images(99, seed=0)[0].shape == (8, 512)


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "sisr", CompactSisr(hr_size=32, scale=4, width=16, blocks=1))
    save_model(tmp_path / "other", CompactRefsr(hr_size=32, scale=8, width=16, blocks=1))
    save_model(tmp_path / "refsr", CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    paths = {name: tmp_path / name for name in ("sisr", "refsr")}
    assert networks.load_models(paths, 32).scale == 4
    assert list(networks.load_models({"refsr": paths["refsr"]}, 32).networks) == ["refsr"]
    with pytest.raises(RefsrError, match="other: trained for scale 8, not 4"):
        networks.load_models(paths | {"another": tmp_path / "other"}, 32)
    with pytest.raises(RefsrError, match="refsr: trained for hr_size 32, not 64"):
        networks.load_models({"refsr": paths["refsr"]}, 64)
    with pytest.raises(RefsrError, match="HR images of 16 pixels cannot be measured"):
        networks.load_models(paths, 16)
    with pytest.raises(RefsrError, match="sisr: a sisr network; `refsr` is to be a refsr one"):
        networks.load_models({"refsr": paths["sisr"]}, 32)
