"""The compact variant: any size and scale, every parameter learns, the reference counts."""

import pytest
import torch

from refsr.models import build
from refsr.models.compact import CompactRefsr, CompactSisr, Latent, _kl


def _images(hr_size: int, scale: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    hr, ref = (torch.rand(count, 3, hr_size, hr_size, generator=draw) for _ in range(2))
    return torch.rand(count, 3, hr_size // scale, hr_size // scale, generator=draw), hr, ref


@pytest.mark.parametrize(("hr_size", "scale"), [(32, 4), (64, 8), (64, 16), (96, 8)])
@pytest.mark.parametrize("kind", ["sisr", "refsr"])
def test_any_size_and_scale(kind: str, hr_size: int, scale: int) -> None:
    model = build({"model": kind, "variant": "compact", "hr_size": hr_size, "scale": scale, "width": 16, "blocks": 1})
    lr, hr, ref = _images(hr_size, scale)
    assert model(lr, hr, ref).sr.shape == hr.shape
    assert model.upscale(lr, ref).shape == hr.shape


@pytest.mark.parametrize("cls", [CompactSisr, CompactRefsr])
def test_every_parameter_gets_a_gradient(cls: type[CompactSisr]) -> None:
    model = cls(32, 8, width=16, blocks=1)
    lr, hr, ref = _images(32, 8)
    sr, kl = model(lr, hr, ref)
    ((sr - hr).abs().mean() + kl).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_reference_changes_the_result_and_none_is_the_single_image_path() -> None:
    torch.manual_seed(0)
    refsr = CompactRefsr(32, 8, width=16, blocks=1).eval()
    sisr = CompactSisr(32, 8, width=16, blocks=1).eval()
    sisr.load_state_dict({k: v for k, v in refsr.state_dict().items() if k in sisr.state_dict()})
    lr, _, ref = _images(32, 8)
    assert torch.equal(refsr.upscale(lr), sisr.upscale(lr))
    assert not torch.allclose(refsr.upscale(lr, ref), refsr.upscale(lr), atol=1e-4)
    assert not torch.allclose(refsr.upscale(lr, ref), refsr.upscale(lr, ref.flip(0)), atol=1e-4)


def test_temperature_draws_samples_and_zero_does_not() -> None:
    model = CompactSisr(32, 8, width=16, blocks=1).eval()
    lr, _, _ = _images(32, 8)
    assert torch.equal(model.upscale(lr), model.upscale(lr))
    assert not torch.equal(model.upscale(lr, temperature=1.0), model.upscale(lr, temperature=1.0))


def test_kl_by_hand() -> None:
    mean, log_sd = torch.full((2, 3, 1, 1), 0.5), torch.full((2, 3, 1, 1), -1.0)
    zero = torch.zeros_like(mean)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(zero, torch.ones_like(zero))
    )
    assert torch.isclose(_kl(mean, log_sd, zero, zero), expected.sum() / 2)
    assert _kl(mean, log_sd, mean, log_sd) == 0


def test_latent_has_as_many_cells_at_any_size() -> None:
    latent = Latent(8, 4)
    for side in (8, 24):
        added, _ = latent(torch.rand(1, 8, side, side), torch.rand(1, 3, 4 * side, 4 * side))
        assert added.shape == (1, 8, side, side)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no such network"):
        build({"model": "sisr", "variant": "nonesuch"})
