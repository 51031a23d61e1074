"""What training minimises, term by term against hand values."""

import pytest
import torch

from refsr.config import Loss
from refsr.errors import RefsrError
from refsr.models import Output
from refsr.models.losses import FEATURE_WEIGHT
from refsr.training.objective import Objective, active_units


def _output(sr: torch.Tensor, kl_each: tuple[float, ...] = (0.5, 1.5)) -> Output:
    means = torch.zeros(2, len(sr), len(kl_each))
    return Output(sr, torch.tensor(kl_each), *means)


def _images(size: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sr, lr, hr): SR is HR and 0.1 more, LR is HR / 8 in size."""
    draw = torch.Generator().manual_seed(0)
    lr = torch.rand(2, 3, size // 8, size // 8, generator=draw) * 0.8
    hr = torch.nn.functional.interpolate(lr, scale_factor=8, mode="bicubic", antialias=True)
    return hr + 0.1, lr, hr


def test_the_default_loss_by_hand() -> None:
    sr, lr, hr = _images()
    parts = Objective(Loss(perceptual_weight=0, kl_weight=0.01), 100)(_output(sr), lr, hr, 0)
    assert parts["l1"].item() == pytest.approx(0.1, rel=1e-4)
    assert parts["kl"].item() == pytest.approx(2.0)
    assert parts["loss"].item() == pytest.approx(0.1 + 0.01 * 2.0, rel=1e-4)
    assert set(parts) == {"loss", "l1", "kl", "active_units"}


def test_what_the_code_leaves_unexplained_weighs_as_kl_does() -> None:
    sr, lr, hr = _images()
    output = _output(sr)._replace(unexplained=torch.tensor(3.0))
    parts = Objective(Loss(perceptual_weight=0, kl_weight=0.01), 100)(output, lr, hr, 0)
    assert parts["kl"].item() == pytest.approx(2.0)
    assert parts["loss"].item() == pytest.approx(0.1 + 0.01 * (2.0 + 3.0), rel=1e-4)


def test_kl_warms_up_over_its_share_of_the_steps() -> None:
    sr, lr, hr = _images()
    objective = Objective(Loss(perceptual_weight=0, kl_weight=1, kl_warmup=0.2), steps=100)
    weighed = [objective(_output(sr), lr, hr, step)["loss"].item() - 0.1 for step in (0, 9, 19, 50)]
    assert weighed == pytest.approx([2 / 20, 2 / 2, 2, 2], rel=1e-3)


def test_free_bits_cost_nothing_and_have_no_gradient() -> None:
    sr, lr, hr = _images()
    kl_each = torch.tensor([0.5, 1.5, 0.0], requires_grad=True)
    output = Output(sr, kl_each, *torch.zeros(2, 2, 3))
    loss = Objective(Loss(perceptual_weight=0, kl_weight=1, free_bits=0.75), 100)(
        output, lr, hr, 0
    )["loss"]
    assert loss.item() == pytest.approx(0.1 + 0.75 + 1.5 + 0.75, rel=1e-4)
    assert torch.autograd.grad(loss, kl_each)[0].tolist() == [0, 1, 0]


def test_consistency_is_what_the_reduced_result_misses_of_lr() -> None:
    grey, lr = torch.full((2, 3, 32, 32), 0.5), torch.full((2, 3, 4, 4), 0.5)
    objective = Objective(Loss(perceptual_weight=0, kl_weight=0, consistency_weight=2), 100)
    parts = objective(_output(grey + 0.1), lr, grey, 0)
    assert parts["consistency"].item() == pytest.approx(0.1, rel=1e-4)
    assert parts["loss"].item() == pytest.approx(0.1 + 2 * 0.1, rel=1e-4)
    assert objective(_output(grey), lr, grey, 0)["consistency"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "term", "networks"),
    [
        (Loss(kl_weight=0), "perceptual", ["efficientnet_lite0"]),
        (Loss(kl_weight=0, perceptual="hed"), "perceptual", ["vgg16_hed"]),
        (
            Loss(kl_weight=0, perceptual_weight=0, identity_weight=0.1, identity="dlib"),
            "identity",
            ["dlib"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_in_the_loss_is_named_and_teaches(
    loss: Loss, term: str, networks: list[str]
) -> None:
    sr, lr, hr = _images()
    objective = Objective(loss, 100)
    assert objective.networks == networks
    assert not any(p.requires_grad for p in objective.parameters())
    same = objective(_output(hr), lr, hr, 0)
    assert same[term].item() == pytest.approx(0, abs=1e-5)
    sr = (
        hr + 0.1 * torch.rand(hr.shape, generator=torch.Generator().manual_seed(1))
    ).requires_grad_()
    hr = hr.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        parts = objective(_output(sr), lr, hr, 0)
    weight = loss.perceptual_weight if term == "perceptual" else loss.identity_weight
    assert parts["loss"].item() == pytest.approx(
        (parts["l1"] + weight * parts[term]).item(), rel=1e-3
    )
    of_sr, of_hr = torch.autograd.grad(parts[term], [sr, hr], allow_unused=True)
    assert of_sr.abs().sum() > 0
    assert of_hr is None or term == "identity"


def test_a_loss_without_networks_loads_none() -> None:
    assert Objective(Loss(perceptual_weight=0), 100).networks == []


@pytest.mark.parametrize("network", ["efficientnet", "hed"])
def test_the_released_loss_and_its_means_are_one_loss_in_two_units(network: str) -> None:
    _, lr, hr = _images()
    sr = hr + 0.05 * torch.rand(hr.shape, generator=torch.Generator().manual_seed(1))
    released, means = (
        Objective(Loss.model_validate({"kind": kind, "perceptual": network}), 9)
        for kind in ("released", "means")
    )
    sums = released(_output(sr), lr, hr, 0)["loss"]
    torch.testing.assert_close(sums, means(_output(sr), lr, hr, 0)["loss"] * hr.numel())
    features = released.features
    assert features is not None
    missed = (features.deepest(sr) - features.deepest(hr)).abs().sum()
    torch.testing.assert_close(sums, (sr - hr).abs().sum() + FEATURE_WEIGHT * missed + 2 * 2.0)


def test_active_units_vary_over_the_batch() -> None:
    means = torch.tensor([[0.0, 5.0, -0.09], [0.0, 5.0, 0.09], [1.0, 5.0, 0.0]])
    output = Output(torch.zeros(3, 3, 8, 8), torch.zeros(3), means, torch.zeros_like(means))
    assert (
        active_units(output) == 1
    )  # the second says the same of every image, the third hardly anything
    none = torch.zeros(3, 0)
    assert active_units(Output(torch.zeros(3, 3, 8, 8), none.sum(0), none, none)) == 0


def test_vgg19_without_its_file_is_a_clear_error() -> None:
    loss = Loss(perceptual="vgg19", vgg19_weights="nowhere/vgg19.pth")
    with pytest.raises(
        RefsrError, match=r"vgg19_weights: nowhere/vgg19\.pth: no such file; give VGG19's weights"
    ):
        Objective(loss, 100)
