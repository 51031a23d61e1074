"""Fidelity and sets of references, as all variants mean them."""

import pytest
import torch

from refsr.dataset.degradation import reduce
from refsr.errors import RefsrError
from refsr.models.upscaling import as_set, hold_to_lr, reduced


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 64, 40, generator=draw), torch.rand(2, 3, 8, 5, generator=draw)


def test_the_linear_reduction_is_that_of_the_data_but_for_rounding() -> None:
    sr, _ = _images()
    assert (reduced(sr, (8, 5)) - reduce(sr, 8)).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("fidelity", [0.25, 1.0])
def test_fidelity_is_the_share_of_the_miss_that_is_put_back(fidelity: float) -> None:
    sr, lr = _images()
    before = lr - reduced(sr, (8, 5))
    after = lr - reduced(hold_to_lr(sr, lr, fidelity), (8, 5))
    torch.testing.assert_close(after, (1 - fidelity) * before, atol=1e-5, rtol=0)


def test_the_change_is_the_least_that_holds() -> None:
    """Adding anything that the reduction does not see only makes it larger:
    the change has no such part.
    """
    sr, lr = _images()
    change = hold_to_lr(sr, lr, 1.0) - sr
    unseen = hold_to_lr(torch.rand_like(sr), torch.zeros_like(lr), 1.0)  # reduces to zero
    assert (change * unseen).sum().abs() < 1e-4 * change.norm() * unseen.norm()


def test_no_fidelity_is_the_output_itself_and_others_are_refused() -> None:
    sr, lr = _images()
    assert hold_to_lr(sr, lr, 0.0) is sr
    for fidelity in (-0.1, 1.5):
        with pytest.raises(RefsrError, match=rf"fidelity {fidelity} is not in \[0, 1\]"):
            hold_to_lr(sr, lr, fidelity)


def test_one_reference_is_a_set_of_one() -> None:
    one, several = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 3, 16, 16)
    assert torch.equal(as_set(one)[:, 0], one)
    assert as_set(several) is several
    for wrong in (torch.rand(3, 16, 16), torch.rand(2, 0, 3, 16, 16), torch.rand(2, 4, 1, 16, 16)):
        with pytest.raises(RefsrError, match=r"references are \(B, 3, H, W\) or \(B, R, 3, H, W\)"):
            as_set(wrong)
