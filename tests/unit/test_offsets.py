"""What references show is sampled where the offsets point, and counts as far as it is trusted."""

import pytest
import torch
from torch import nn

from refsr.models.offsets import FARTHEST, TRUST, OffsetSampling

CELLS, FINE = (6, 10), (12, 20)
X = torch.rand(2, 8, *CELLS)


def sampling(across: float = 0.0, down: float = 0.0, trust: float = 0.0) -> OffsetSampling:
    """A network that points by the same offset everywhere, in half sides of the image."""
    network = OffsetSampling(8).eval()
    nn.init.zeros_(network.point.weight)
    bias = torch.tensor([across / FARTHEST, down / FARTHEST]).atanh()
    with torch.no_grad():
        network.point.bias.copy_(torch.tensor([*bias, trust]))  # type: ignore[union-attr]
    return network


def test_without_offsets_each_place_shows_what_the_reference_has_there() -> None:
    fine = torch.rand(2, 5, *FINE)
    carried = sampling()(X, X, fine, 1)
    torch.testing.assert_close(carried, fine * torch.tensor(TRUST).sigmoid())


@pytest.mark.parametrize(("across", "down"), [(2, 0), (0, 1), (-1, -1)])
def test_offsets_point_across_and_down(across: int, down: int) -> None:
    fine = torch.rand(2, 5, *FINE)
    network = sampling(2 * across / FINE[1], 2 * down / FINE[0])
    carried = network(X, X, fine, 1) / torch.tensor(TRUST).sigmoid()
    expected = fine.roll((-down, -across), (2, 3))
    inner = (..., slice(2, -2), slice(2, -2))  # beyond the edge is its continuation
    torch.testing.assert_close(carried[inner], expected[inner], atol=1e-4, rtol=0)


def test_what_nobody_trusts_does_not_count() -> None:
    assert sampling(trust=-50)(X, X, torch.rand(2, 5, *FINE), 1).abs().max() < 1e-6


def test_the_reference_that_is_trusted_most_counts_most() -> None:
    network = sampling()
    with torch.no_grad():  # the features of a reference are its confidence
        network.point.weight[2, 0, 1, 1] = 1.0
    network.compare = nn.Sequential(_Last(8))  # type: ignore[assignment]
    cells = torch.stack([torch.full((8, *CELLS), value) for value in (20.0, -20.0)])
    fine = torch.stack([torch.ones(5, *FINE), torch.zeros(5, *FINE)])
    torch.testing.assert_close(network(X[:1], cells, fine, 2), fine[:1])


class _Last(nn.Module):
    """The last channels of what is compared, those of the reference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        return both[:, -self.channels :]
