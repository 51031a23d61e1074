"""Image quality as pure functions of tensors: (N, 3, H, W) in [0, 1], RGB, twice -> (N,).

Two protocols: "plain" is `psnr` and `ssim`, all pixels of all channels. "paper" is `psnr_y` and
`ssim_y`, what Liu et al. (IEEE Access 2019) measured: luminance, with the outer 8 pixels cut off,
of the self-ensemble's output.
"""

import torch

from refsr.dataset.degradation import reduce

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
BORDER = 8
ROUNDING = 1 / 12 / 255**2  # mean squared error of rounding to 8 bits
LUMA = (65.481, 128.553, 24.966)  # BT.601, studio swing, of RGB in [0, 1]


def psnr(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio, dB, over all channels.

    It ends at 58.9, that of rounding to 8 bits, which is also that of equal images.
    """
    return _decibels((sr.double() - hr.double()).square().mean((1, 2, 3)))


def ssim(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004).

    Gaussian window 11x11, sigma 1.5, at the places where it fits. The mean over places and
    channels. Raises ValueError for images smaller than the window.
    """
    if min(hr.shape[-2:]) < WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, not {tuple(hr.shape[-2:])}",
        )
    x, y = sr.double(), hr.double()
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    variance_x, variance_y, covariance = (
        xx - mean_x**2,
        yy - mean_y**2,
        xy - mean_x * mean_y,
    )
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variance_x + variance_y + K2**2)
    return (luminance * structure).mean((1, 2, 3))


def psnr_y(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """PSNR of BT.601 luminance without the outer 8 pixels, dB."""
    return psnr(_inner_luma(sr), _inner_luma(hr))


def ssim_y(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """SSIM of BT.601 luminance without the outer 8 pixels."""
    return ssim(_inner_luma(sr), _inner_luma(hr))


def lr_psnr(sr: torch.Tensor, lr: torch.Tensor, scale: int) -> torch.Tensor:
    """LR consistency: PSNR of the reduced SR against LR, dB."""
    return psnr(reduce(sr, scale), lr)


def _decibels(error: torch.Tensor) -> torch.Tensor:
    return -10 * error.clamp_min(ROUNDING).log10()


def luma(images: torch.Tensor) -> torch.Tensor:
    """BT.601 Y of RGB: (N, 3, H, W) in [0, 1] -> (N, 1, H, W) in [16, 235] / 255, not rounded."""
    weights = torch.tensor(LUMA, dtype=torch.float64, device=images.device)
    return (torch.einsum("nchw,c->nhw", images.double(), weights)[:, None] + 16) / 255


def _inner_luma(images: torch.Tensor) -> torch.Tensor:
    return luma(images)[..., BORDER:-BORDER, BORDER:-BORDER]


def _blur(images: torch.Tensor) -> torch.Tensor:
    """A Gaussian over the places where the window fits: (N, C, H, W) -> (N, C, H - 10, W - 10)."""
    height, width = images.shape[-2:]
    return _band(height, images) @ images @ _band(width, images).T


def _band(size: int, like: torch.Tensor) -> torch.Tensor:
    """The matrix (size - 10, size) that blurs a line."""
    places = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    window = (-(places**2) / (2 * SIGMA**2)).exp()
    rows = torch.arange(size - WINDOW + 1, device=like.device)[:, None]
    band = like.new_zeros(len(rows), size)
    return band.scatter_(
        1,
        rows + torch.arange(WINDOW, device=like.device),
        (window / window.sum()).expand(len(rows), -1),
    )
