"""The compact variant: any size and scale, every parameter learns, the reference counts."""

import pytest
import torch

from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.attention import ReferenceAttention
from refsr.models.compact import CompactRefsr, CompactSisr
from refsr.models.upscaling import reduced

SMALL = {"variant": "compact", "hr_size": 32, "scale": 8, "width": 16, "blocks": 1}


def _images(
    height: int = 32, scale: int = 8, width: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    width = width or height
    hr, ref = (torch.rand(2, 3, height, width, generator=draw) for _ in range(2))
    return torch.rand(2, 3, height // scale, width // scale, generator=draw), hr, ref


@pytest.fixture
def refsr() -> CompactRefsr:
    torch.manual_seed(0)
    return CompactRefsr(32, 8, width=16, blocks=1).eval()


@pytest.mark.parametrize(("hr_size", "scale"), [(32, 4), (64, 8), (64, 16), (96, 8)])
@pytest.mark.parametrize("kind", ["sisr", "refsr"])
def test_any_size_and_scale(kind: str, hr_size: int, scale: int) -> None:
    model = build(
        {
            "model": kind,
            "variant": "compact",
            "hr_size": hr_size,
            "scale": scale,
            "width": 16,
            "blocks": 1,
        }
    )
    lr, hr, ref = _images(hr_size, scale)
    assert model(lr, hr, ref).sr.shape == hr.shape
    assert model.upscale(lr, ref).shape == hr.shape


@pytest.mark.parametrize("kind", ["sisr", "refsr"])
def test_one_network_takes_larger_and_oblong_images(kind: str) -> None:
    model = build({"model": kind} | SMALL)
    lr, hr, ref = _images(96, 8, width=64)
    assert model(lr, hr, ref).sr.shape == model.upscale(lr, ref).shape == hr.shape


def test_the_default_has_less_than_15_million_parameters() -> None:
    with torch.device("meta"):
        model = build(
            {"model": "refsr", "variant": "compact", "width": 128, "blocks": 8},
        )  # of params/vggface2.yaml
    assert sum(p.numel() for p in model.parameters()) < 15_000_000


@pytest.mark.parametrize(
    "options",
    [
        {"model": "sisr"},
        {"model": "sisr", "latent": 0},
        {"model": "refsr"},
        {"model": "refsr", "attention": True},
        {"model": "refsr", "offsets": False},
        {"model": "refsr", "attention": True, "offsets": False},
        {"model": "refsr", "align": False},
    ],
)
def test_every_parameter_gets_a_gradient(options: dict[str, object]) -> None:
    model = build(SMALL | options)
    lr, hr, ref = _images()
    output = model(lr, hr, ref, hr, torch.zeros(len(hr), 5, 2))
    terms = (output.sr - hr).abs().mean(), output.kl, output.unexplained, output.misplaced
    sum(terms).backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_the_reference_changes_the_result_and_none_is_the_single_image_path(
    refsr: CompactRefsr,
) -> None:
    sisr = CompactSisr(32, 8, width=16, blocks=1).eval()
    sisr.load_state_dict({k: v for k, v in refsr.state_dict().items() if k in sisr.state_dict()})
    lr, _, ref = _images()
    assert torch.equal(refsr.upscale(lr), sisr.upscale(lr))
    assert not torch.allclose(refsr.upscale(lr, ref), refsr.upscale(lr), atol=1e-4)
    assert not torch.allclose(refsr.upscale(lr, ref), refsr.upscale(lr, ref.flip(0)), atol=1e-4)


def test_an_evaluation_before_a_training_leaves_nothing_in_the_way_of_attention() -> None:
    attention, x = (
        ReferenceAttention(16, 48, heads=1),
        torch.rand(1, 16, 5, 7),
    )  # no other test has these sides
    with torch.inference_mode():
        attention(x, x, x)
    attention(x, x, x).sum().backward()
    assert attention.place.weight.grad is not None


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("offsets", [True, False])
def test_several_references_are_seen_in_any_order(attention: bool, offsets: bool) -> None:
    torch.manual_seed(0)
    ways = {"attention": attention, "offsets": offsets}
    model = CompactRefsr(32, 8, width=16, blocks=1, **ways).eval()
    lr, hr, ref = _images()
    pair, turned = torch.stack([ref, 1 - ref], 1), torch.stack([1 - ref, ref], 1)
    torch.testing.assert_close(model.upscale(lr, pair), model.upscale(lr, turned))
    assert not torch.allclose(model.upscale(lr, pair), model.upscale(lr, ref), atol=1e-4)
    torch.testing.assert_close(
        model.upscale(lr, ref[:, None].expand(-1, 4, -1, -1, -1)),
        model.upscale(lr, ref),
    )
    assert model(lr, hr, pair).sr.shape == hr.shape


def test_a_reference_of_another_size_is_taken(refsr: CompactRefsr) -> None:
    lr, hr, _ = _images()
    assert refsr.upscale(lr, torch.rand(2, 3, 64, 48)).shape == hr.shape


def test_attention_brings_each_cell_from_where_it_lies_in_either_reference() -> None:
    """The references are the two halves of the image itself, upside down:
    matched, and put together again.
    """
    torch.manual_seed(0)
    attention = ReferenceAttention(16, 48, heads=1)
    torch.nn.init.zeros_(attention.place.weight)
    torch.nn.init.constant_(attention.sharpness, 5.0)
    x = torch.randn(1, 16, 4, 4)
    left, right = x[..., :2].flip(2, 3), x[..., 2:].flip(2, 3)
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    carried = attention(
        x,
        torch.cat([left, right]),
        torch.cat([values[..., :2].flip(2, 3), values[..., 2:].flip(2, 3)]),
    )
    torch.testing.assert_close(carried, values, atol=1e-2, rtol=0)


def test_temperature_draws_samples_and_zero_draws_nothing(refsr: CompactRefsr) -> None:
    lr, _, ref = _images()
    assert refsr.draws_samples
    before = torch.get_rng_state()
    mean = refsr.upscale(lr, ref)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(refsr.upscale(lr, ref, temperature=0.0), mean)
    assert not torch.equal(
        refsr.upscale(lr, ref, temperature=1.0),
        refsr.upscale(lr, ref, temperature=1.0),
    )


def test_training_adds_noise_and_nothing_else_does(refsr: CompactRefsr) -> None:
    lr, hr, ref = _images()
    assert torch.equal(refsr(lr, hr, ref).sr, refsr.upscale(lr, ref))
    refsr.train()
    assert not torch.equal(refsr(lr, hr, ref).sr, refsr(lr, hr, ref).sr)


def test_a_sample_is_a_function_of_the_seed_and_departs_in_proportion_to_the_temperature(
    refsr: CompactRefsr,
) -> None:
    lr, _, ref = _images()
    changes = []
    for temperature in (1.0, 1.0, 0.25):
        torch.manual_seed(3)
        changes.append(refsr.upscale(lr, ref, temperature=temperature) - refsr.upscale(lr, ref))
    assert torch.equal(changes[0], changes[1])
    torch.testing.assert_close(changes[2], 0.25 * changes[0], atol=1e-5, rtol=1e-3)


def test_samples_differ_in_what_lr_leaves_open_alone(refsr: CompactRefsr) -> None:
    lr, _, ref = _images()
    mean, sample = refsr.upscale(lr, ref), refsr.upscale(lr, ref, temperature=100.0)
    assert (sample - mean).abs().max() > 0.01
    torch.testing.assert_close(reduced(sample, (4, 4)), reduced(mean, (4, 4)), atol=1e-4, rtol=0)


def test_the_latent_variable_teaches_nothing_but_its_modes(refsr: CompactRefsr) -> None:
    """So that samples cost the output at temperature 0 nothing."""
    lr, hr, ref = _images()
    output = refsr(lr, hr, ref)
    (output.kl + output.unexplained).backward()
    taught = {name for name, p in refsr.named_parameters() if p.grad is not None}
    assert taught == {name for name, _ in refsr.named_parameters() if name.startswith("modes.")}


def test_in_training_a_share_of_the_batch_is_inferred(refsr: CompactRefsr) -> None:
    lr, hr, ref = (images.repeat(3, 1, 1, 1) for images in _images())
    assert len(refsr(lr, hr, ref).posterior_mean) == 6
    output = refsr.train()(lr, hr, ref)
    assert len(output.sr) == 6
    assert len(output.posterior_mean) == len(output.prior_mean) == 2


def test_fidelity_holds_the_result_to_lr(refsr: CompactRefsr) -> None:
    lr, _, ref = _images()
    misses = [
        (torch.nn.functional.interpolate(sr, size=(4, 4), mode="bicubic", antialias=True) - lr)
        .abs()
        .mean()
        .item()
        for sr in (refsr.upscale(lr, ref, fidelity=fidelity) for fidelity in (0.0, 0.5, 1.0))
    ]
    assert misses[1] == pytest.approx(0.5 * misses[0], rel=1e-3)
    assert misses[2] < 1e-5


def test_without_a_latent_variable_there_is_no_sample() -> None:
    model = build(SMALL | {"model": "refsr", "latent": 0}).eval()
    lr, hr, ref = _images()
    output = model(lr, hr, ref)
    assert output.kl == 0
    assert output.posterior_mean.shape == (2, 0)
    assert torch.equal(output.sr, model.upscale(lr, ref))
    with pytest.raises(RefsrError, match="compact without a latent variable draws no samples"):
        model.upscale(lr, ref, temperature=1.0)


def test_an_unknown_network_or_option_is_refused() -> None:
    with pytest.raises(ValueError, match="no such network"):
        build({"model": "sisr", "variant": "nonesuch"})
    with pytest.raises(
        RefsrError,
        match="option latent: a whole number from 0 to 1024 is expected, not -1",
    ):
        build(SMALL | {"model": "sisr", "latent": -1})
