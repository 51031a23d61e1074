"""The layers of the paper's networks."""

import math

import pytest
import torch
from torch import nn

from refsr.dataset import degradation
from refsr.models.blocks import PRIOR_SD, UpBackProjection, enlarge, kl_to_prior


@pytest.mark.parametrize(
    ("mu", "sd", "each"),
    [
        (0.0, 0.1, 0.0),
        (0.1, 0.1, 0.5),
        (0.0, 1.0, 50 - math.log(10) - 0.5),
        (-0.3, 0.2, 4.5 + 2 - math.log(2) - 0.5),
    ],
)
def test_kl_has_its_hand_computed_value(mu: float, sd: float, each: float) -> None:
    shape = (3, 7)
    kl = kl_to_prior(torch.full(shape, mu), torch.full(shape, sd).log())
    assert kl.tolist() == pytest.approx([each] * 7, abs=1e-5)


def test_kl_is_the_mean_over_the_batch_of_what_torch_computes() -> None:
    mu, log_sd = torch.randn(5, 11), torch.randn(5, 11)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mu, log_sd.exp()), normal(torch.tensor(0.0), PRIOR_SD)
    )
    torch.testing.assert_close(kl_to_prior(mu, log_sd), expected.mean(0))


def test_an_up_and_back_projection_by_hand() -> None:
    """One cell and channels of one weight each: every deconvolution and convolution is a sum."""
    block = UpBackProjection(2, channels=1)
    for name, weight in {
        "up.0": 1.0,
        "down.0": 0.5,
        "project": 3.0,
        "up_error.0": -1.0,
        "refine": 2.0,
    }.items():
        nn.init.constant_(block.get_submodule(name).weight, weight)
    x = torch.tensor([1.0, -3.0]).reshape(1, 2, 1, 1)
    # a = PReLU(-2) = -0.5; b = PReLU(0.5 * 4 * -0.5) = -0.25; e = 3 * -2 + 0.25 = -5.75; d = 5.75;
    # y = 2 * -0.5 + d
    assert block(x).tolist() == [[[[4.75, 4.75], [4.75, 4.75]]]]


def test_an_up_and_back_projection_doubles_the_size() -> None:
    assert UpBackProjection(5)(torch.rand(2, 5, 3, 4)).shape == (2, 32, 6, 8)


def test_the_networks_start_from_the_bicubic_baseline_of_the_data() -> None:
    lr = torch.rand(2, 3, 4, 4)
    assert torch.equal(enlarge(lr, 32), degradation.enlarge(lr, (32, 32)))
