"""The metrics against hand-computed values and scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from refsr.dataset.degradation import reduce
from refsr.evaluation import image_quality
from refsr.evaluation.ensemble import self_ensemble


def noisy_pair(size: int = 40, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(count, 3, size, size, generator=generator)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_psnr_of_a_known_difference() -> None:
    """A difference of 0.1 everywhere is an error of 0.01: 20 dB; each image counts by itself."""
    hr = torch.full((2, 3, 8, 8), 0.5)
    sr = hr + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert image_quality.psnr(sr, hr).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)


def test_psnr_agrees_with_scikit_image() -> None:
    a, b = noisy_pair()
    expected = [
        peak_signal_noise_ratio(q.numpy(), p.numpy(), data_range=1.0)
        for p, q in zip(a, b, strict=True)
    ]
    assert image_quality.psnr(a, b).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_of_equal_images_is_that_of_rounding() -> None:
    hr = torch.rand(1, 3, 8, 8)
    assert image_quality.psnr(hr, hr).item() == pytest.approx(58.92, abs=0.01)
    flat = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert image_quality.psnr(*flat).item() == 0


def test_ssim_agrees_with_scikit_image() -> None:
    a, b = noisy_pair()
    expected = [
        structural_similarity(
            p.numpy().astype(np.float64),
            q.numpy().astype(np.float64),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for p, q in zip(a, b, strict=True)
    ]
    assert image_quality.ssim(a, b).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_equal_and_of_flat_images() -> None:
    """Of two flat images only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1)."""
    a, _ = noisy_pair()
    assert image_quality.ssim(a, a).tolist() == pytest.approx([1.0] * 3)
    flat = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    expected = (2 * 0.5 * 0.25 + 0.01**2) / (0.5**2 + 0.25**2 + 0.01**2)
    assert image_quality.ssim(*flat).item() == pytest.approx(expected)


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="11x11"):
        image_quality.ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))


def test_luma_of_black_white_and_red() -> None:
    """BT.601: black is 16, white 235, red 16 + 65.481."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0]], dtype=torch.float32)[:, :, None, None]
    assert (image_quality.luma(colours).flatten() * 255).tolist() == pytest.approx(
        [16, 235, 81.481]
    )


def test_luminance_metrics_cut_the_border_and_ignore_colour_without_luma() -> None:
    a, b = noisy_pair()
    damaged = a.clone()
    damaged[..., :8, :], damaged[..., -8:, :] = 0, 0
    damaged[..., :8], damaged[..., -8:] = 0, 0
    assert image_quality.ssim_y(damaged, a).tolist() == pytest.approx([1.0] * 3)
    assert (image_quality.psnr_y(damaged, a) > 58.9).all()
    assert (image_quality.psnr(damaged, a) < 15).all()
    inner = slice(8, -8)
    y = [image_quality.luma(x)[:, 0, inner, inner].numpy() for x in (a, b)]
    expected = [10 * math.log10(1 / ((p - q) ** 2).mean()) for p, q in zip(*y, strict=True)]
    assert image_quality.psnr_y(a, b).tolist() == pytest.approx(expected)


def test_paper_metrics_agree_with_scikit_image() -> None:
    """BT.601 luminance by scikit-image's own conversion, the border cut by hand."""
    a, b = noisy_pair()
    y = [
        rgb2ycbcr(x.numpy().astype(np.float64), channel_axis=1)[:, 0, 8:-8, 8:-8] / 255
        for x in (a, b)
    ]
    psnr = [peak_signal_noise_ratio(q, p, data_range=1.0) for p, q in zip(*y, strict=True)]
    ssim = [
        structural_similarity(
            p, q, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for p, q in zip(*y, strict=True)
    ]
    assert image_quality.psnr_y(a, b).tolist() == pytest.approx(psnr, abs=1e-4)
    assert image_quality.ssim_y(a, b).tolist() == pytest.approx(ssim, abs=1e-6)


def test_lr_consistency_is_the_psnr_of_what_is_reduced() -> None:
    """Of HR itself it is that of rounding, 10 log10(12 * 255^2);
    of another image what scikit-image says.
    """
    hr, sr = noisy_pair()
    lr = reduce(hr, 4)
    assert image_quality.lr_psnr(hr, lr, 4).tolist() == pytest.approx(
        [10 * math.log10(12 * 255**2)] * 3
    )
    expected = [
        peak_signal_noise_ratio(p.numpy(), q.numpy(), data_range=1.0)
        for p, q in zip(lr, reduce(sr, 4), strict=True)
    ]
    assert image_quality.lr_psnr(sr, lr, 4).tolist() == pytest.approx(expected, abs=1e-4)


def test_self_ensemble_turns_everything_there_and_back() -> None:
    """What commutes with turning comes out unchanged;
    what does not is seen from all eight sides.
    """
    lr, refs = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 3, 8, 8)

    def enlarge(lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
        assert ref is not None
        return lr.repeat_interleave(2, 2).repeat_interleave(2, 3) + ref.mean(1)

    assert torch.allclose(self_ensemble(enlarge, lr, refs), enlarge(lr, refs), atol=1e-6)
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 8.0

    def mark(lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
        assert ref is None
        return corner

    corners = self_ensemble(mark, lr[:1, :1], None)[0, 0]
    assert corners[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [2.0] * 4
    assert corners.sum() == 8.0
