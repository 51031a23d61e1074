"""The released loss against hand-computed values, in sums and in means."""

import pytest
import torch
import torch.nn.functional as F

from refsr.models import Output
from refsr.models.losses import released_loss, released_loss_in_means


def output_of(sr: torch.Tensor, kl: float) -> Output:
    """SR, and a divergence of two dimensions that sum to `kl`."""
    return Output(sr, torch.tensor([0.25, 0.75]) * kl, *torch.zeros(2, len(sr), 2))


def as_vgg(image: torch.Tensor) -> torch.Tensor:
    """Features of the shape of VGG19's conv5_4, (B, 512, H/16, W/16),
    that are 3 times each patch's mean.
    """
    return 3 * F.avg_pool2d(image, 16).mean(1, keepdim=True).expand(-1, 512, -1, -1)


def test_sums_by_hand() -> None:
    hr = torch.zeros(2, 3, 32, 32)
    output = output_of(hr + 0.5, 7.0)
    pixels, features, kl = 2 * 3 * 32 * 32 * 0.5, 2 * 512 * 2 * 2 * 1.5, 2 * 7.0
    assert released_loss(output, hr, as_vgg).item() == pytest.approx(
        pixels + 10 * features / 256 + kl
    )


def test_what_a_code_leaves_unexplained_is_counted_with_kl() -> None:
    hr = torch.zeros(2, 3, 32, 32)
    more = [
        released_loss(output_of(hr, 7.0)._replace(unexplained=rest), hr, as_vgg).item()
        for rest in (0.0, 5.0)
    ]
    assert more == pytest.approx([2 * 7.0, 2 * 12.0])


def test_means_by_hand_at_128_pixels() -> None:
    hr = torch.zeros(1, 3, 128, 128)
    loss = released_loss_in_means(output_of(hr + 0.5, 1000.0), hr, as_vgg).item()
    assert loss == pytest.approx(0.5 + 0.02604 * 1.5 + 2.03e-5 * 1000, rel=1e-3)


@pytest.mark.parametrize(("batch", "size"), [(1, 16), (4, 32), (16, 64)])
def test_sums_and_means_are_one_loss_in_two_units(batch: int, size: int) -> None:
    torch.manual_seed(0)
    hr, sr = torch.rand(2, batch, 3, size, size)
    sr.requires_grad_()
    output = output_of(sr, 40.0)
    sums, means = released_loss(output, hr, as_vgg), released_loss_in_means(output, hr, as_vgg)
    torch.testing.assert_close(sums, means * hr.numel())
    gradients = [torch.autograd.grad(loss, sr)[0] for loss in (sums, means)]
    torch.testing.assert_close(gradients[0], gradients[1] * hr.numel())


def test_no_gradient_goes_into_the_target_features() -> None:
    hr = torch.rand(1, 3, 16, 16, requires_grad=True)
    seen = []

    def watched(image: torch.Tensor) -> torch.Tensor:
        features = as_vgg(image)
        seen.append(features.requires_grad)
        return features

    released_loss(output_of(hr + 0.1, 0.0), hr, watched)
    assert seen == [False, True]
