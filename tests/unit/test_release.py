"""The paper's networks: counts and shapes at 128 pixels on tensors without data,
values at 16 pixels.
"""

import math

import pytest
import torch
from torch import nn

from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.blocks import PRIOR_SD, enlarge
from refsr.models.losses import released_loss_in_means
from refsr.models.release import ReleaseRefsr, ReleaseSisr
from refsr.models.upscaling import hold_to_lr
from refsr.models.vae import ConditionalVae

SIZE, SCALE = 16, 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def sisr() -> ReleaseSisr:
    torch.manual_seed(1)
    return ReleaseSisr(SIZE, SCALE)


@pytest.fixture(scope="module")
def refsr() -> ReleaseRefsr:
    torch.manual_seed(1)
    return ReleaseRefsr(SIZE, SCALE)


def pair(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(lr, hr, ref) of noise."""
    hr = torch.rand(batch, 3, SIZE, SIZE)
    lr = nn.functional.interpolate(hr, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return lr, hr, torch.rand(batch, 3, SIZE, SIZE)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(kind: type[ConditionalVae], **options: int) -> ConditionalVae:
    with torch.device("meta"):
        return kind(**options)


@pytest.mark.parametrize(
    ("kind", "total", "latent"),
    [(ReleaseSisr, 199_922_832, 149_611_008), (ReleaseRefsr, 198_667_408, 148_431_360)],
)
def test_parameters_are_those_of_the_released_files(
    kind: type[ConditionalVae], total: int, latent: int
) -> None:
    network = on_meta(kind)
    assert count(network) == total
    assert count(network.trunk) == 9_330_240
    assert count(network.skip) == 139_456
    assert count(network.latent) == latent
    assert count(network.generator) == 25_691_648
    assert count(network.decoder) == 14_697_536


def test_layer_shapes_are_those_of_the_released_files() -> None:
    shapes = [tuple(p.shape) for name, p in on_meta(ReleaseRefsr).named_parameters() if p.dim() > 1]
    # Of down, project, up_error and refine.
    block = [(32, 32, 6, 6), (32, 32, 1, 1), (32, 32, 6, 6), (32, 32, 1, 1)]
    assert shapes == [
        *[(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 6, 6), (128, 128, 3, 3)],
        *[(256, 128, 6, 6), (256, 256, 3, 3), (512, 256, 6, 6), (512, 512, 3, 3)],
        *[(128, 512, 1, 1), (64, 128, 3, 3)],
        *[(256, 512, 3, 3), (128, 256, 3, 3), (128, 128, 3, 3)],
        *[(4096, 32768), (2048, 4096), (2048, 2048)],
        *[(512, 49152), (1024, 512)],
        *[(2048, 1024), (2048, 2048), (4096, 2048), (64, 16, 3, 3)],
        *[(64, 32, 6, 6), (32, 32, 6, 6), (32, 64, 1, 1), (32, 32, 6, 6), (32, 32, 1, 1)],
        *[(32, 32, 6, 6), *block],
        *[(32, 32, 6, 6), *block],
        (3, 32, 3, 3),
    ]


@pytest.mark.parametrize("kind", [ReleaseSisr, ReleaseRefsr])
@pytest.mark.parametrize(("size", "scale"), [(128, 8), (128, 16), (64, 4), (24, 3)])
def test_sr_has_the_size_of_hr(kind: type[ConditionalVae], size: int, scale: int) -> None:
    network = on_meta(kind, hr_size=size, scale=scale)
    hr = torch.empty(2, 3, size, size, device="meta")
    lr = torch.empty(2, 3, size // scale, size // scale, device="meta")
    output = network(lr, hr, hr)
    assert output.sr.shape == hr.shape
    assert output.kl_each.shape == (1024,)
    assert output.posterior_mean.shape == output.prior_mean.shape == (2, 1024)


def test_weights_start_as_in_the_released_files(sisr: ReleaseSisr) -> None:
    """The deviations are copied from the weight fillers of the released files."""
    stds = {
        "trunk.2": 0.0589, "trunk.4": 0.0208, "trunk.6": 0.0417, "trunk.10": 0.0295,
        "trunk.12": 0.0147, "trunk.14": 0.0295, "skip.0": 0.125, "latent.0": 0.0208,
        "latent.2": 0.0208, "latent.4": 0.0295, "latent.9": 0.01, "generator.3": 0.01,
        "decoder.4": 0.01, "ubp.1.up.0": 0.0417, "ubp.1.down.0": 0.0417,
        "ubp.1.refine": 0.25, "output": 0.2722,
    }  # fmt: skip
    for name, std in stds.items():
        layer = sisr.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1), name
        assert not layer.bias.any(), name
    slopes = [m.weight.tolist() for m in sisr.modules() if isinstance(m, nn.PReLU)]
    assert slopes == [[0.25]] * 13


def test_generator_gives_zero_mean_and_unit_variance_per_image(sisr: ReleaseSisr) -> None:
    codes = sisr.generator(
        torch.stack([torch.rand(3, SIZE, SIZE), 0.01 * torch.rand(3, SIZE, SIZE)])
    )
    torch.testing.assert_close(codes.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.var(1, correction=0), torch.ones(2))


def test_a_black_image_gives_finite_gradients(sisr: ReleaseSisr) -> None:
    black = torch.zeros(1, 3, SIZE, SIZE, requires_grad=True)
    codes = sisr.generator(black)
    assert not codes.any()
    (gradient,) = torch.autograd.grad(codes.sum(), black)
    assert gradient.isfinite().all()


def inputs_of(network: ConditionalVae, *parts: str) -> dict[str, torch.Tensor]:
    """What the named submodules are given in one forward in training."""
    seen = {}
    handles = [
        network.get_submodule(part).register_forward_pre_hook(
            lambda _, args, part=part: seen.update({part: args[0]})
        )
        for part in parts
    ]
    network(*pair())
    for handle in handles:
        handle.remove()
    return seen


def test_sisr_encodes_lr_before_its_relu_and_both_images_after(sisr: ReleaseSisr) -> None:
    seen = inputs_of(sisr, "trunk", "skip", "latent")
    assert seen["trunk"].shape == (4, 3, SIZE, SIZE)
    assert seen["skip"].min() < 0
    assert seen["latent"].min() == 0
    assert torch.equal(seen["latent"][:, :512], seen["skip"].relu())


def test_refsr_encodes_the_sum_of_both_images_after_its_relu(refsr: ReleaseRefsr) -> None:
    torch.manual_seed(0)
    lr, _, ref = pair()
    torch.manual_seed(0)
    seen = inputs_of(refsr, "trunk", "skip", "latent")
    assert torch.equal(seen["trunk"], enlarge(lr, SIZE) + ref)
    assert seen["skip"].min() == 0
    assert torch.equal(seen["skip"], seen["latent"])


def test_merging_by_hand(sisr: ReleaseSisr, refsr: ReleaseRefsr) -> None:
    skip, code = torch.full((1, 64, 2, 2), -4.0), torch.full((1, 64, 2, 2), -8.0)
    assert sisr.merge(skip, code)[0, :, 0, 0].tolist() == [-1.0] * 64 + [-2.0] * 64
    assert refsr.merge(skip, code)[0, :, 0, 0].tolist() == [-6.0] * 64


def test_what_the_networks_give_is_added_to_the_bicubic_enlargement() -> None:
    network = ReleaseRefsr(SIZE, SCALE)
    nn.init.zeros_(network.output.weight)
    lr, _, ref = pair()
    assert torch.equal(network.upscale(lr, ref), enlarge(lr, SIZE))


@pytest.mark.parametrize("variant", ["release", "figure"])
@pytest.mark.parametrize("model", ["sisr", "refsr"])
def test_the_loss_reaches_every_parameter(model: str, variant: str) -> None:
    network = build({"model": model, "variant": variant, "hr_size": SIZE, "scale": SCALE})
    lr, hr, ref = pair()
    released_loss_in_means(
        network(lr, hr, ref), hr, lambda image: nn.functional.avg_pool2d(image, 4)
    ).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("variant", ["release", "figure"])
def test_sisr_deployed_is_the_training_network_whose_posterior_is_the_prior(variant: str) -> None:
    network = build({"model": "sisr", "variant": variant, "hr_size": SIZE, "scale": SCALE})
    last = network.latent[-1]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias[1024:] = math.log(PRIOR_SD)
    lr, hr, ref = pair()
    output = network(lr, hr)
    torch.testing.assert_close(network.upscale(lr, ref), output.sr)
    assert output.kl.item() == pytest.approx(0, abs=1e-4)


def test_sisr_training_sees_hr_and_deployment_no_reference(sisr: ReleaseSisr) -> None:
    lr, hr, ref = pair()
    assert not torch.equal(sisr(lr, hr).sr, sisr(lr, ref).sr)
    assert torch.equal(sisr.upscale(lr), sisr.upscale(lr, ref))


def test_deployed_sd_normal_draws_anew_at_each_call() -> None:
    network = ReleaseSisr(SIZE, SCALE, deployed_sd="normal")
    lr, _, _ = pair()
    assert not torch.equal(network.upscale(lr), network.upscale(lr))


def test_refsr_is_deterministic_and_only_the_reference_changes_it(refsr: ReleaseRefsr) -> None:
    lr, hr, ref = pair()
    sr = refsr.upscale(lr, ref)
    assert torch.equal(sr, refsr.upscale(lr, ref))
    assert torch.equal(sr, refsr(lr, hr, ref).sr)
    assert torch.equal(sr, refsr(lr, 1 - hr, ref).sr)
    assert not torch.equal(sr, refsr.upscale(lr, ref.flip(0)))


def test_mode_lr_takes_lr_for_its_own_reference(refsr: ReleaseRefsr) -> None:
    lr, hr, ref = pair()
    own = refsr.upscale(lr, enlarge(lr, SIZE))
    assert torch.equal(refsr.upscale(lr), own)
    assert torch.equal(refsr.upscale(lr, ref, mode="lr"), own)
    assert torch.equal(refsr(lr, hr, None).sr, own)
    assert not torch.equal(refsr.upscale(lr, ref), own)


def test_mode_gaussian_draws_the_code_and_ignores_the_reference(refsr: ReleaseRefsr) -> None:
    lr, _, ref = pair()
    first, second = (refsr.upscale(lr, ref, mode="gaussian") for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    drawn = refsr.upscale(lr, ref, mode="gaussian")
    torch.manual_seed(7)
    assert torch.equal(drawn, refsr.upscale(lr, None, mode="gaussian"))


def test_the_mode_of_the_configuration_is_the_default() -> None:
    network = ReleaseRefsr(SIZE, SCALE, mode="lr")
    lr, _, ref = pair()
    assert torch.equal(network.upscale(lr, ref), network.upscale(lr))
    assert not torch.equal(network.upscale(lr, ref, mode="reference"), network.upscale(lr))


def test_of_several_references_the_first_counts(refsr: ReleaseRefsr) -> None:
    lr, hr, ref = pair()
    several = torch.stack([ref, 1 - ref, hr], 1)
    assert torch.equal(refsr.upscale(lr, several), refsr.upscale(lr, ref))
    assert torch.equal(refsr(lr, hr, several).sr, refsr(lr, hr, ref).sr)


@pytest.mark.parametrize("variant", ["release", "figure"])
@pytest.mark.parametrize("model", ["sisr", "refsr"])
def test_samples_are_refused_and_fidelity_holds_the_result_to_lr(model: str, variant: str) -> None:
    network = build({"model": model, "variant": variant, "hr_size": SIZE, "scale": SCALE})
    lr, _, ref = pair()
    assert not network.draws_samples
    with pytest.raises(
        RefsrError, match=f"the variant {variant} draws no samples: temperature must be 0, not 0.5"
    ):
        network.upscale(lr, ref, temperature=0.5)
    assert torch.equal(
        network.upscale(lr, ref, fidelity=1.0), hold_to_lr(network.upscale(lr, ref), lr, 1.0)
    )


def test_an_lr_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="lr is 8x8 pixels; this network takes 16x16"):
        on_meta(ReleaseSisr).upscale(torch.empty(1, 3, 8, 8, device="meta"))


@pytest.mark.parametrize("kind", [ReleaseSisr, ReleaseRefsr])
def test_one_image_is_overfitted_in_a_few_steps(kind: type[ConditionalVae]) -> None:
    network = kind(hr_size=SIZE, scale=SCALE)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4, fused=True)
    lr, hr, ref = pair(batch=1)
    for _ in range(10):
        loss = (network(lr, hr, ref).sr - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bicubic = (enlarge(lr, SIZE) - hr).abs().mean()
    assert loss.item() < 0.9 * bicubic.item()
