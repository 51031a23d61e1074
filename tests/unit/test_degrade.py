"""HR -> LR is the bicubic it says it is."""

import numpy as np
import pytest
import torch

from refsr.dataset.degradation import reduce
from refsr.dataset.real_degradation import small


def weights(size: int, scale: int) -> np.ndarray:
    """(size / scale, size): Keys's cubic with a = -0.5, widened by the scale,
    cut off at the border and normalised.
    """
    centres = (np.arange(size // scale) + 0.5) * scale - 0.5
    x = np.abs(np.arange(size) - centres[:, None]) / scale
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    kernel = np.where(x <= 1, near, np.where(x < 2, far, 0))
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("scale", [2, 4, 8, 16])
def test_the_reduction_is_keyss_bicubic_with_its_support_widened(scale: int) -> None:
    hr = np.random.default_rng(scale).random((2, 3, 64, 96))
    lr = np.einsum("ih,bchw,jw->bcij", weights(64, scale), hr, weights(96, scale)).clip(0, 1)
    np.testing.assert_allclose(
        reduce(torch.tensor(hr), scale).numpy(), (lr * 255).round() / 255, atol=1.01 / 255
    )
    assert np.abs(reduce(torch.tensor(hr), scale).numpy() - lr).max() < 0.501 / 255


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="60x64 pixels cannot be reduced 8 times"):
        reduce(torch.zeros(1, 3, 60, 64), 8)


@pytest.mark.parametrize("scale", [4, 8, 16])
def test_real_small_photos_are_worse_each_in_its_way(scale: int) -> None:
    ways = torch.rand(48, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    hr = torch.nn.functional.interpolate(0.3 + 0.4 * ways, size=(64, 64), mode="bicubic")
    lr, clean = small(hr, scale, "real", 5), reduce(hr, scale)
    worse = (lr - clean).square().mean((1, 2, 3)).sqrt() * 255
    share = (worse == 0).float().mean()
    assert 0.1 < share < 0.45
    assert 3 < worse[worse > 0].median() < 30
    assert torch.equal(lr * 255, (lr * 255).round())
    torch.manual_seed(9)
    assert torch.equal(lr, small(hr, scale, "real", 5))
    assert not torch.equal(lr, small(hr, scale, "real", 6))
    assert torch.equal(small(hr, scale, "bicubic", 5), clean)
