"""How well a reference fits: what is fitted, what is stored, and what the score then says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_curated

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import (
    load_model,
    read_checkpoint,
    save_model,
)
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import (
    DIFFERENCES,
    Compatibility,
    differences_of,
    score,
)
from refsr.training.compatibility import (
    calibrate,
    draw_pairs,
    logistic,
    platt,
    weigh,
)


def _network() -> CompactRefsr:
    torch.manual_seed(0)
    network = CompactRefsr(
        hr_size=32,
        scale=4,
        width=16,
        blocks=1,
    )
    return network.eval()


@pytest.fixture(scope="module")
def faces(
    tmp_path_factory: pytest.TempPathFactory,
) -> Curated:
    made = make_curated(
        tmp_path_factory.mktemp("curated"),
        identities=16,
        images=3,
        train=8,
        validation=6,
    )
    return Curated(made)


@pytest.fixture(scope="module")
def calibrated(faces: Curated) -> CompactRefsr:
    network = _network()
    assert calibrate(network, faces, 0)
    return network


def test_a_difference_is_that_of_a_cell_in_brightness_and_colour() -> None:
    lr = torch.full((1, 3, 8, 8), 0.5)
    laid = torch.full((1, 2, 3, 32, 32), 0.5)
    laid[:, 1, :, :16] += 0.1  # the upper half of the second is brighter
    values = differences_of(lr, laid)
    none, brighter = values.reshape(2, 3, 8, 4)
    assert none.abs().max() < 1e-6
    # a cell and its mirror image
    upper = brighter[0, :3]
    assert upper == pytest.approx(0.2, abs=0.03)
    assert brighter[0, 5:].abs().max() < 0.03
    colour = brighter[1:]
    assert colour.abs().max() < 1e-3


def _sigmoid(x: np.ndarray) -> np.ndarray:
    p: np.ndarray = 1 / (1 + np.exp(-x))
    return p


def test_a_logistic_regression_gives_the_weights_that_drew_its_targets() -> None:
    rng = np.random.default_rng(0)
    count = 20_000
    values = rng.normal(size=(count, 2))
    truth = [1.0, -2.0, 0.5]
    odds = values @ truth[:2] + truth[2]
    weights = logistic(
        values,
        _sigmoid(odds),
        np.full(count, 1 / count),
        np.zeros(2),
    )
    assert weights == pytest.approx(truth, abs=1e-6)


def test_ratings_become_log_odds_of_equally_frequent_right_and_wrong() -> None:
    """Of normal ratings the slope is distance over variance."""
    rng = np.random.default_rng(0)
    right = rng.normal(2, 1, (20_000, 1))
    wrong = rng.normal(0, 1, (20_000, 4))
    ratings = np.concatenate([right, wrong], 1)
    slope, offset = platt(3 * ratings)
    assert slope == pytest.approx(2 / 3, abs=0.03)
    assert offset == pytest.approx(-2, abs=0.06)


def test_ratings_that_separate_stay_finite() -> None:
    ratings = np.array([[1.0, 0.0]] * 2)
    slope, offset = platt(ratings)
    right, wrong = _sigmoid(slope * ratings[0] + offset)
    assert right == pytest.approx(3 / 4, abs=1e-3)
    assert wrong == pytest.approx(1 / 4, abs=1e-3)


def test_weights_count_right_and_wrong_alike() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (200, 5, 3))
    # the right one differs less in the second
    values[:, 0, 1] -= 0.9
    weights = weigh(values)
    assert np.abs(weights).argmax() == 1
    assert weights[1] < 0


def test_pairs_are_of_the_split_and_the_first_is_the_right_one(faces: Curated) -> None:
    pairs = draw_pairs(faces, "validation", 0)
    assert pairs is not None
    table, rows = faces.table, pairs.rows
    drawn = table.iloc[pairs.references.ravel()]
    assert set(drawn["split"]) == {"validation"}
    assert set(drawn["role"]) == {"reference"}
    assert len(rows) == 18
    assert set(table["role"].iloc[rows]) == {"image"}
    whose = table["identity"].to_numpy()
    person = whose[rows][:, None]
    same = person == whose[pairs.references]
    assert same[:, 0].all()
    assert not same[:, 1:].any()


def _pictures(faces: Curated, role: str) -> torch.Tensor:
    table = faces.table
    chosen = table["split"] == "test"
    chosen &= table["role"] == role
    rows = np.flatnonzero(chosen)
    pixels = torch.from_numpy(faces.pixels(rows))
    return pixels.permute(0, 3, 1, 2) / 255


def test_the_score_tells_right_from_wrong_people(calibrated: CompactRefsr, faces: Curated) -> None:
    lr = reduce(_pictures(faces, "image"), 4)
    own = _pictures(faces, "reference")
    own = own.repeat_interleave(3, 0)
    refs = torch.stack([own, own.roll(3, 0)], 1)
    both = score(calibrated, lr, refs)
    assert both is not None
    assert both.shape == (len(lr), 2)
    assert ((both >= 0) & (both <= 1)).all()
    right, wrong = both.mean(0).tolist()
    assert right > wrong + 0.2
    alone = score(calibrated, lr, own)
    assert alone is not None
    assert torch.equal(alone[:, 0], both[:, 0])


def test_a_checkpoint_keeps_the_score_beside_the_same_weights(
    calibrated: CompactRefsr, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    save_model(first, calibrated, {"step": 3})
    again = load_model(first)
    known = calibrated.compatibility
    assert again.compatibility == known
    _, facts, _ = read_checkpoint(first)
    assert facts["step"] == 3
    second = tmp_path / "second"
    save_model(second, again, facts)
    assert second.read_bytes() == first.read_bytes()


def test_without_validation_people_there_is_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = make_curated(
        tmp_path / "curated",
        identities=5,
        train=4,
    )
    network = _network()
    assert not calibrate(network, Curated(alone), 0)
    said = "no compatibility score: the validation"
    assert said in caplog.text
    path = tmp_path / "model"
    save_model(path, network)
    lr = torch.rand(1, 3, 8, 8)
    ref = torch.rand(1, 3, 32, 32)
    assert score(load_model(path), lr, ref) is None


def test_a_variant_that_does_not_compare_has_none(faces: Curated) -> None:
    config = {"model": "refsr", "variant": "release"}
    sizes = {"hr_size": 16, "scale": 4}
    network = build(config | sizes)
    assert calibrate(network, faces, 0) is None
    lr = torch.rand(1, 3, 4, 4)
    ref = torch.rand(1, 3, 16, 16)
    assert score(network, lr, ref) is None


@pytest.mark.parametrize(
    "weights",
    [
        [1.0],
        [float("nan")] * DIFFERENCES,
        "none",
        None,
    ],
)
def test_a_damaged_score_is_refused(weights: object, tmp_path: Path) -> None:
    network = _network()
    network.compatibility = Compatibility(
        weights,  # type: ignore[arg-type]
        0.0,
    )
    path = tmp_path / "model"
    save_model(path, network)
    message = r"model: does not fit .*train again"
    with pytest.raises(RefsrError, match=message):
        load_model(path)
