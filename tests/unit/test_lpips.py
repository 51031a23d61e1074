"""LPIPS with weights that are not the real ones:
the arithmetic, layer by layer, and what is refused.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from refsr.errors import RefsrError
from refsr.models.pretrained.lpips import SLICES, Lpips


def state() -> dict[str, torch.Tensor]:
    """A state with the names and shapes of lpips.LPIPS(net="vgg")."""
    draw, channels, weights = torch.Generator().manual_seed(0), 3, {}
    for number, layers in enumerate(SLICES, 1):
        for index, outputs in layers:
            scale = (2 / (9 * channels)) ** 0.5
            weights[f"net.slice{number}.{index}.weight"] = scale * torch.randn(
                outputs, channels, 3, 3, generator=draw
            )
            weights[f"net.slice{number}.{index}.bias"] = 0.1 * torch.randn(outputs, generator=draw)
            channels = outputs
        weights[f"lin{number - 1}.model.1.weight"] = torch.rand(1, channels, 1, 1, generator=draw)
    return weights


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lpips_vgg.pth"
    torch.save(state(), path)
    return path


def test_lpips_is_what_its_paper_says(file: Path) -> None:
    """Written out in one go: scaled input, VGG16 in five slices, unit features, weighted squares,
    mean, sum.
    """
    sr, hr = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    weights, expected = state(), torch.zeros(2)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([sr, hr]) * 2 - 1
    x = (x - shift[None, :, None, None]) / scale[None, :, None, None]
    for number, layers in enumerate(SLICES, 1):
        x = F.max_pool2d(x, 2) if number > 1 else x
        for index, _ in layers:
            names = (f"net.slice{number}.{index}.{part}" for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, *(weights[name] for name in names), padding=1))
        a, b = (x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)).chunk(2)
        linear = weights[f"lin{number - 1}.model.1.weight"][0, :, 0, 0]
        expected = expected + torch.einsum("nchw,c->nhw", (a - b) ** 2, linear).mean((1, 2))
    assert Lpips(file)(sr, hr).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert Lpips(file)(hr, hr).tolist() == [0.0, 0.0]


def test_what_is_not_lpips_is_refused_with_the_way_out(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RefsrError, match=r"no such file of LPIPS weights; save lpips\.LPIPS"):
        Lpips(tmp_path / "missing.pth")
    torch.save({"lin0.model.1.weight": torch.rand(1)}, tmp_path / "lin.pth")
    with pytest.raises(RefsrError, match=r"no tensor net\.slice1\.0\.weight"):
        Lpips(tmp_path / "lin.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(RefsrError, match=r"junk\.pth: cannot be read as LPIPS weights"):
        Lpips(tmp_path / "junk.pth")
