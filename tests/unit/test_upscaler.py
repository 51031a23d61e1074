"""Any size in, the model's size out; and the image files around it."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from refsr.errors import RefsrError
from refsr.inference import images
from refsr.inference.images import read_image, write_image
from refsr.inference.upscaler import upscale, upscale_batch
from refsr.models import build

RNG = np.random.default_rng(0)


class Nearest(nn.Module):
    """Repeats pixels; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"hr_size": 32, "scale": 4}
        self.unused = nn.Parameter(torch.zeros(1))

    def upscale(
        self, lr: torch.Tensor, ref: torch.Tensor | None = None, **_: float
    ) -> torch.Tensor:
        self.lr, self.ref = lr, ref
        return F.interpolate(lr, scale_factor=4)


def _noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def test_an_image_of_the_models_size_is_not_touched() -> None:
    model = Nearest()
    lr, ref = _noise(8, 8, 3), _noise(32, 32, 3)
    assert np.array_equal(upscale(model, lr, ref), lr.repeat(4, 0).repeat(4, 1))
    assert model.ref is not None
    assert np.array_equal((model.ref[0].permute(1, 2, 0) * 255).round().byte().numpy(), ref)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (8, 6, (32, 24)),
        (6, 8, (24, 32)),
        (100, 50, (32, 16)),
        (5, 3, (32, 19)),
        (1, 1, (32, 32)),
        (300, 1, (32, 1)),
    ],
)
def test_proportions_are_kept(height: int, width: int, expected: tuple[int, int]) -> None:
    model = Nearest()
    assert upscale(model, _noise(height, width, 3), _noise(50, 20, 3)).shape == (*expected, 3)
    assert model.lr.shape == (1, 3, 8, 8)
    assert model.ref is not None
    assert model.ref.shape == (1, 3, 32, 32)


def test_what_fills_the_square_is_the_edge_and_is_cut_off_again() -> None:
    model = Nearest()
    lr = _noise(8, 4, 3)
    assert np.array_equal(upscale(model, lr), lr.repeat(4, 0).repeat(4, 1))
    square = (model.lr[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(square[:, 2:6], lr)
    assert (square[:, :2] == lr[:, :1]).all()
    assert (square[:, 6:] == lr[:, -1:]).all()


def test_a_flat_image_stays_flat() -> None:
    assert (upscale(Nearest(), np.full((13, 7, 3), 200, np.uint8)) == 200).all()


def test_a_large_image_is_reduced_without_aliases() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    reduced = upscale(Nearest(), stripes)[:, 4:-4]
    assert abs(reduced.astype(int) - 127).max() <= 4


def test_no_reference_is_none() -> None:
    model = Nearest()
    upscale(model, _noise(8, 8, 3))
    assert model.ref is None


def test_a_batch_is_its_images_one_by_one() -> None:
    torch.manual_seed(0)
    config = {"model": "refsr", "variant": "compact", "hr_size": 32, "scale": 4, "width": 16}
    model = build(config).eval()
    lr, ref = _noise(3, 8, 6, 3), _noise(3, 40, 40, 3)
    batch = upscale_batch(model, lr, ref).astype(int)
    single = np.stack([upscale(model, one, other) for one, other in zip(lr, ref, strict=True)])
    assert batch.shape == (3, 32, 24, 3)
    assert abs(batch - single).max() <= 1


def test_every_ordinary_kind_of_image_is_read(tmp_path: Path) -> None:
    rgb = _noise(6, 9, 3)
    grey16 = rgb[..., 0].astype(np.uint16) * 257
    for name, image in {
        "rgb.png": Image.fromarray(rgb),
        "rgb.bmp.png": Image.fromarray(rgb),
        "grey.png": Image.fromarray(rgb[..., 0]),
        "grey16.png": Image.fromarray(grey16),
        "palette.png": Image.fromarray(rgb).convert("P"),
        "one_bit.png": Image.fromarray(rgb[..., 0]).convert("1"),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "rgb.webp": Image.fromarray(rgb),
    }.items():
        image.save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert (read.shape, read.dtype) == ((6, 9, 3), np.uint8), name
    assert np.array_equal(read_image(tmp_path / "rgb.png"), rgb)
    assert np.array_equal(read_image(tmp_path / "grey16.png"), rgb[..., :1].repeat(3, 2))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (10, 20, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert (read[:2] == (10, 20, 30)).all()
    assert (read[2:] == 255).all()


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90 degrees
    sideways = np.zeros((8, 16, 3), np.uint8)
    sideways[:, :8] = 255
    Image.fromarray(sideways).save(tmp_path / "a.jpg", exif=exif, quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (16, 8, 3)
    assert read[:7].min() > 200 > 50 > read[9:].max()


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    Image.fromarray(_noise(90, 90, 3)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    for name, message in {
        "text.png": "not a JPEG, PNG, WebP, AVIF or HEIF image",
        "empty.jpg": "not a JPEG, PNG, WebP, AVIF or HEIF image",
        "cut.jpg": "cannot be read as an image: .*truncated",
        "gone.png": "no such file",
        "": "cannot be read",
    }.items():
        with pytest.raises(RefsrError, match=rf"{name}: {message}"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, 1)).save(tmp_path / "huge.png")
    content = bytearray((tmp_path / "huge.png").read_bytes())
    content[20:24] = side.to_bytes(4, "big")  # IHDR: height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(RefsrError, match=r"huge\.png: .*too large"):
        read_image(tmp_path / "huge.png")


def test_an_image_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = _noise(5, 7, 3)
    (tmp_path / "out.png").write_text("old")
    write_image(tmp_path / "out.png", rgb)
    assert np.array_equal(read_image(tmp_path / "out.png"), rgb)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RefsrError, match=r"folder\.png: cannot be written"):
        write_image(tmp_path / "folder.png", rgb)
    with pytest.raises(RefsrError, match=r"gone: no such folder"):
        write_image(tmp_path / "gone" / "out.png", rgb)
    with pytest.raises(RefsrError, match=r"out\.tiff: the output is to end in one of \.jpg"):
        images.output_format(tmp_path / "out.tiff")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "out.png"]
