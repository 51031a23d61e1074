"""The latent variable of the compact variant: modes, and what HR tells of the code."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal, kl_divergence

from refsr.models.latent import NOISE, Modes, _doubled, infer, left_open
from refsr.models.upscaling import hold_to_lr, reduced


def _modes_and_missed() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 3, 8, 8, generator=draw) - 0.5, torch.rand(
        2, 3, 8, 8, generator=draw
    ) - 0.5


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (24, 10), (2, 2)])
def test_modes_are_as_many_at_any_size_and_unseen_in_lr(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    modes, lr = Modes(8, 6, 5), torch.rand(2, 3, rows // 2, columns // 2)
    result = modes(torch.rand(2, 8, rows, columns), torch.rand(2, 6, 2 * rows, 2 * columns), lr)
    assert result.shape == (2, 5, 3, 4 * rows, 4 * columns)
    assert reduced(result.flatten(0, 1), (rows // 2, columns // 2)).abs().max() < 1e-5
    assert result.abs().max() > 1e-4


def test_doubled_is_bilinear() -> None:
    image = torch.rand(2, 5, 8, 3)
    expected = F.interpolate(image, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(_doubled(image), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert _doubled(image.bfloat16()).dtype == torch.float32


def test_what_lr_leaves_open_is_what_holding_to_it_does_not_change() -> None:
    change, lr = torch.rand(2, 3, 32, 24), torch.zeros(2, 3, 4, 3)
    torch.testing.assert_close(
        left_open(change, lr), hold_to_lr(change, lr, 1.0), atol=1e-5, rtol=0
    )


def test_an_evaluation_before_a_training_leaves_nothing_in_its_way() -> None:
    change, lr = (
        torch.rand(2, 3, 56, 56, requires_grad=True),
        torch.zeros(2, 3, 7, 7),
    )  # no other test has these sides
    with torch.inference_mode():
        left_open(change.detach(), lr)
    left_open(change, lr).square().sum().backward()
    assert change.grad is not None


def test_the_bound_is_the_likelihood_of_what_was_missed() -> None:
    """KL plus what stays unexplained is minus the log-likelihood of a Gaussian of low rank."""
    modes, missed = _modes_and_missed()
    result = infer(modes, missed)
    factors = modes.flatten(2).mT
    low_rank = LowRankMultivariateNormal(
        torch.zeros(2, len(missed[0].flatten())),
        factors,
        torch.full((2, missed[0].numel()), NOISE**2),
    )
    noise = (
        MultivariateNormal(torch.zeros(1), NOISE**2 * torch.eye(1)).log_prob(torch.zeros(1))
        * missed[0].numel()
    )
    expected = (noise - low_rank.log_prob(missed.flatten(1))).mean()
    torch.testing.assert_close(
        result.kl_each.sum() + result.unexplained, expected, rtol=1e-4, atol=1e-3
    )


def test_the_posterior_by_hand() -> None:
    modes, missed = _modes_and_missed()
    result = infer(modes, missed)
    prior = MultivariateNormal(torch.zeros(3), torch.eye(3))
    kl = []
    for m, r, mean in zip(
        modes.flatten(2) / NOISE, missed.flatten(1) / NOISE, result.mean, strict=True
    ):
        covariance = torch.linalg.inv(torch.eye(3) + m @ m.T)
        torch.testing.assert_close(mean, covariance @ m @ r, rtol=1e-4, atol=1e-4)
        kl.append(kl_divergence(MultivariateNormal(mean, covariance), prior))
    torch.testing.assert_close(result.kl_each.sum(), torch.stack(kl).mean(), rtol=1e-4, atol=1e-4)
    assert (result.kl_each >= 0).all()


def test_what_a_code_leaves_unexplained_by_hand() -> None:
    modes, missed = _modes_and_missed()
    modes = 0.1 * modes
    missed = 0.1 * missed + 3 * modes.sum(1)  # most of it is a code far from 0
    result = infer(modes, missed)
    rest = missed - torch.einsum("bd,bdchw->bchw", result.mean, modes)
    gram = (modes.flatten(2) / NOISE) @ (modes.flatten(2) / NOISE).mT
    spread = torch.linalg.solve(torch.eye(3) + gram, gram).diagonal(dim1=1, dim2=2).sum(1)
    expected = 0.5 * ((rest / NOISE).square().sum((1, 2, 3)) + spread).mean()
    assert result.mean.mean() > 1
    torch.testing.assert_close(result.unexplained, expected)


def test_modes_of_nothing_explain_nothing() -> None:
    modes, missed = _modes_and_missed()
    result = infer(0 * modes, missed)
    assert not result.mean.any()
    assert result.kl_each.abs().max() < 1e-6
    torch.testing.assert_close(
        result.unexplained, 0.5 * (missed / NOISE).square().sum((1, 2, 3)).mean()
    )
