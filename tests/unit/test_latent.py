"""The latent variable of the compact variant."""

import pytest
import torch

from refsr.models.latent import Latent, Prior, kl_of_gaussians


def test_kl_by_hand() -> None:
    mean, log_sd = torch.full((2, 3, 1, 1), 0.5), torch.full((2, 3, 1, 1), -1.0)
    zero = torch.zeros_like(mean)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(zero, torch.ones_like(zero))
    )
    torch.testing.assert_close(kl_of_gaussians(mean, log_sd, zero, zero), expected.mean(0).flatten())
    assert not kl_of_gaussians(mean, log_sd, mean, log_sd).any()


@pytest.mark.parametrize("prior", ["learned", "standard"])
def test_there_are_as_many_cells_at_any_size(prior: Prior) -> None:
    latent = Latent(8, 4, prior)
    for rows, columns in ((8, 8), (24, 10)):
        drawn = latent(torch.rand(2, 8, rows, columns), torch.rand(2, 3, 4 * rows, 4 * columns))
        assert drawn.added.shape == (2, 8, rows, columns)
        assert drawn.kl_each.shape == (64,)
        assert drawn.posterior_mean.shape == drawn.prior_mean.shape == (2, 64)


def test_the_posterior_sees_hr_and_the_prior_does_not() -> None:
    latent = Latent(8, 4)
    x, (hr, other) = torch.rand(2, 8, 8, 8), torch.rand(2, 2, 3, 32, 32)
    seen, again, blind = latent(x, hr), latent(x, other), latent(x)
    assert torch.equal(seen.prior_mean, again.prior_mean)
    assert not torch.equal(seen.posterior_mean, again.posterior_mean)
    assert torch.equal(blind.posterior_mean, seen.prior_mean)
    assert not blind.kl_each.any()


def test_the_standard_prior_is_the_same_for_every_image() -> None:
    x = torch.rand(2, 8, 8, 8)
    assert not Latent(8, 4, "standard")(x).prior_mean.any()
    assert Latent(8, 4, "learned")(x).prior_mean.any()
