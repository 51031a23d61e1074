"""Small photos that no clean bicubic made, and the models on them."""

import pytest
import torch
from helpers import FAITHFUL, make_curated

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.small_photos import WAYS
from refsr.evaluation import networks
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import Bench
from refsr.evaluation.robustness import degraded, robustness
from refsr.evaluation.scoring import Scorer
from refsr.models.compact import CompactRefsr, CompactSisr


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    torch.manual_seed(0)
    faces = Curated(make_curated(tmp_path_factory.mktemp("curated"), identities=3))
    options = {"hr_size": 32, "scale": 4, "width": 16, "blocks": 1}
    models = {"sisr": CompactSisr(**options).eval(), "refsr": CompactRefsr(**options).eval()}
    return Bench(faces, networks.Models(models, 4, "cpu"), Scorer("cpu"), pairs(faces.table, 0))


@pytest.mark.parametrize("name", WAYS)
def test_a_way_is_of_the_form_of_lr_and_the_same_each_time(bench: Bench, name: str) -> None:
    hr = bench.images(bench.test["row"].to_numpy()[:2])
    true, lr = WAYS[name](hr, 4)
    assert lr.shape == (2, 3, 8, 8) and true.shape == hr.shape
    assert torch.allclose(lr * 255, (lr * 255).round(), atol=1e-3)
    assert torch.equal(lr, WAYS[name](hr, 4)[1])
    assert torch.equal(true, hr) is (name != "off_centre")
    off = (lr - reduce(true, 4)).abs().mean()
    assert (off == 0) if name in ("bicubic", "off_centre") else (0.001 < off < 0.1)


def test_an_off_centre_face_lies_to_the_right_and_below(bench: Bench) -> None:
    hr = bench.images(bench.test["row"].to_numpy()[:1])
    moved, _ = WAYS["off_centre"](hr, 4)
    assert torch.equal(moved[..., 3:, 3:], hr[..., :-3, :-3])


def test_every_main_condition_is_measured_in_every_way(bench: Bench) -> None:
    rows = degraded(bench, most=1, batch_size=2, seed=0)
    assert len(rows) == len(WAYS) * len(FAITHFUL) * 3
    result = robustness(rows, resamples=100, seed=0)
    assert list(result) == list(WAYS)
    for conditions in result.values():
        assert set(conditions) == set(FAITHFUL)
        for numbers in conditions.values():
            assert numbers["psnr"]["low"] <= numbers["psnr"]["mean"] <= numbers["psnr"]["high"]
    blurred, clean = (result[name]["bicubic"]["psnr"]["mean"] for name in ("blur", "bicubic"))
    assert blurred < clean
