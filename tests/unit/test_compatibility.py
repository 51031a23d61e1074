"""How well a reference fits: what is fitted, what is stored, and what the score then says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_model, read_checkpoint, save_model
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import DIFFERENCES, Compatibility, differences_of, score
from refsr.training.compatibility import calibrate, draw_pairs, logistic, platt, weigh


def _network() -> CompactRefsr:
    torch.manual_seed(0)
    return CompactRefsr(hr_size=32, scale=4, width=16, blocks=1).eval()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    folder = tmp_path_factory.mktemp("curated")
    return Curated(make_curated(folder, identities=16, images=3, train=8, validation=6))


@pytest.fixture(scope="module")
def calibrated(faces: Curated) -> CompactRefsr:
    network = _network()
    assert calibrate(network, faces, 0)
    return network


def test_a_difference_is_that_of_a_cell_in_brightness_and_colour() -> None:
    lr = torch.full((1, 3, 8, 8), 0.5)
    laid = torch.full((1, 2, 3, 32, 32), 0.5)
    laid[:, 1, :, :16] += 0.1  # the upper half of the second is brighter
    none, brighter = differences_of(lr, laid).reshape(2, 3, 8, 4)
    assert none.abs().max() < 1e-6
    assert brighter[0, :3] == pytest.approx(0.2, abs=0.03)  # a cell and its mirror image
    assert brighter[0, 5:].abs().max() < 0.03
    assert brighter[1:].abs().max() < 1e-3  # no colour


def test_a_logistic_regression_gives_the_weights_that_drew_its_targets() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20_000, 2))
    truth = np.array([1.0, -2.0, 0.5])
    p = 1 / (1 + np.exp(-(values @ truth[:2] + truth[2])))
    counted = np.full(len(values), 1 / len(values))
    weights = logistic(values, p, counted, np.zeros(2))
    assert weights == pytest.approx(truth, abs=1e-6)


def test_ratings_become_log_odds_of_equally_frequent_right_and_wrong() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(2, 1, (20_000, 1)), rng.normal(0, 1, (20_000, 4))
    slope, offset = platt(np.concatenate([right, wrong], 1) * 3)
    assert slope == pytest.approx(2 / 3, abs=0.03)  # of normal ratings: distance over variance
    assert offset == pytest.approx(-2, abs=0.06)


def test_ratings_that_separate_stay_finite() -> None:
    slope, offset = platt(np.array([[1.0, 0.0], [1.0, 0.0]]))
    (right, wrong) = 1 / (1 + np.exp(-(slope * np.array([1.0, 0.0]) + offset)))
    assert right == pytest.approx(3 / 4, abs=1e-3) and wrong == pytest.approx(1 / 4, abs=1e-3)


def test_weights_count_right_and_wrong_alike() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (200, 5, 3))
    values[:, 0, 1] -= 0.9  # the right one differs less in the second
    weights = weigh(values)
    assert np.abs(weights).argmax() == 1 and weights[1] < 0


def test_pairs_are_of_the_split_and_the_first_is_the_right_one(faces: Curated) -> None:
    pairs = draw_pairs(faces, "validation", 0)
    assert pairs is not None
    table = faces.table
    drawn = table.iloc[pairs.references.ravel()]
    assert set(drawn["split"]) == {"validation"} and set(drawn["role"]) == {"reference"}
    whose = table["identity"].to_numpy()
    same = whose[pairs.rows][:, None] == whose[pairs.references]
    assert same[:, 0].all() and not same[:, 1:].any()
    assert set(table["role"].iloc[pairs.rows]) == {"image"} and len(pairs.rows) == 18


def test_the_score_tells_right_from_wrong_people(calibrated: CompactRefsr, faces: Curated) -> None:
    table = faces.table.query("split == 'test'")
    rows = {role: table.index[table["role"] == role].to_numpy() for role in ("image", "reference")}
    image, own = (
        torch.from_numpy(faces.pixels(each)).permute(0, 3, 1, 2) / 255 for each in rows.values()
    )
    lr = torch.nn.functional.interpolate(image, scale_factor=0.25, mode="bicubic", antialias=True)
    own = own.repeat_interleave(3, 0)  # three images of each person
    both = score(calibrated, lr, torch.stack([own, own.roll(3, 0)], 1))
    assert both is not None and both.shape == (len(lr), 2)
    assert ((both >= 0) & (both <= 1)).all()
    assert both[:, 0].mean() > both[:, 1].mean() + 0.2
    alone = score(calibrated, lr, own)
    assert alone is not None and torch.equal(alone[:, 0], both[:, 0])


def test_a_checkpoint_keeps_the_score_beside_the_same_weights(
    calibrated: CompactRefsr, tmp_path: Path
) -> None:
    save_model(tmp_path / "with", calibrated, {"step": 3})
    again = load_model(tmp_path / "with")
    assert again.compatibility == calibrated.compatibility
    save_model(tmp_path / "again", again, read_checkpoint(tmp_path / "with")[1])
    assert (tmp_path / "with").read_bytes() == (tmp_path / "again").read_bytes()
    assert read_checkpoint(tmp_path / "with")[1]["step"] == 3


def test_without_validation_people_there_is_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = Curated(make_curated(tmp_path / "curated", identities=5, train=4))
    network = _network()
    assert calibrate(network, alone, 0) is None
    assert "no compatibility score: the validation split" in caplog.text
    save_model(tmp_path / "model", network)
    lr, ref = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    assert score(load_model(tmp_path / "model"), lr, ref) is None


def test_a_variant_that_does_not_compare_has_none(faces: Curated) -> None:
    network = build({"model": "refsr", "variant": "release", "hr_size": 16, "scale": 4})
    assert calibrate(network, faces, 0) is None
    assert score(network, torch.rand(1, 3, 4, 4), torch.rand(1, 3, 16, 16)) is None


@pytest.mark.parametrize("weights", [[1.0], [float("nan")] * DIFFERENCES, "none", None])
def test_a_damaged_score_is_refused(weights: object, tmp_path: Path) -> None:
    network = _network()
    network.compatibility = Compatibility(weights, 0.0)  # type: ignore[arg-type]
    save_model(tmp_path / "model", network)
    with pytest.raises(RefsrError, match=r"model: does not fit this version.*train again"):
        load_model(tmp_path / "model")
