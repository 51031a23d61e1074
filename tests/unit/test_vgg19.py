"""VGG19 from a file in torchvision's names, against the same layers put together in another way."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from refsr.errors import RefsrError
from refsr.models.pretrained.vgg19 import Vgg19Features

LAYOUT = (
    64,
    64,
    "pool",
    128,
    128,
    "pool",
    256,
    256,
    256,
    256,
    "pool",
    512,
    512,
    512,
    512,
    "pool",
    512,
    512,
    512,
    512,
)


def _reference() -> nn.Sequential:
    """Up to conv5_4, before its ReLU, with torchvision's numbers."""
    layers: list[nn.Module] = []
    inputs = 3
    for entry in LAYOUT:
        if isinstance(entry, str):
            layers.append(nn.AvgPool2d(2))
            continue
        conv = nn.Conv2d(inputs, entry, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight)
        layers += [conv, nn.ReLU()]
        inputs = entry
    return nn.Sequential(*layers[:-1])


@pytest.fixture(scope="module")
def reference() -> nn.Sequential:
    torch.manual_seed(0)
    return _reference().requires_grad_(False)


@pytest.fixture(scope="module", params=[".pth", ".safetensors"])
def path(
    request: pytest.FixtureRequest,
    reference: nn.Sequential,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    tensors = {f"features.{name}": tensor for name, tensor in reference.state_dict().items()}
    tensors["classifier.0.weight"] = torch.zeros(2, 2)
    file: Path = tmp_path_factory.mktemp("vgg") / f"vgg19{request.param}"
    (save_file if request.param == ".safetensors" else torch.save)(tensors, file)
    return file


def test_the_deepest_map_is_conv5_4_before_its_relu_of_bgr_pixels(
    path: Path, reference: nn.Sequential
) -> None:
    network = Vgg19Features(path)
    images = torch.rand(2, 3, 32, 32)
    pixels = 255 * images.flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    expected = reference(pixels)
    assert expected.min() < 0
    torch.testing.assert_close(network.deepest(images), expected, rtol=1e-3, atol=1e-2)
    maps = network(images)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]
    torch.testing.assert_close(maps[-1], expected.relu(), rtol=1e-3, atol=1e-2)
    assert not any(p.requires_grad for p in network.parameters())


def test_what_is_not_vgg19_is_refused(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pth" for name in ("other", "list", "noise", "code")}
    torch.save(
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(7)},
        files["other"],
    )
    torch.save([1, 2], files["list"])
    files["noise"].write_bytes(b"no weights")
    torch.save(nn.Linear(1, 1), files["code"])
    for name, message in {
        "other": r"features\.0\.bias is \(7,\); VGG19 has \(64,\) there",
        "list": r"features\.0\.weight is missing; VGG19 has \(64, 3, 3, 3\) there",
        "noise": "cannot be read as a state dict",
        "code": "cannot be read as a state dict",
    }.items():
        with pytest.raises(RefsrError, match=rf"vgg19_weights: .*{name}\.pth: {message}"):
            Vgg19Features(files[name])
