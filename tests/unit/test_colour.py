"""Colours by an ICC profile become sRGB, in a photo and in a curated set, by one function."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from raw_trees import curate_tree, draw, jpeg, make_raw

from refsr.inference.images import read_image
from refsr.io.colour import to_srgb
from refsr.io.jpeg import decode, icc_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RAMP = np.linspace(40, 255, 64 * 64).astype(np.uint8).reshape(64, 64)


def profile_of(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2, of these tags."""
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += padded
    length = struct.pack(">I", at + len(body))
    head = length + b"\0" * 4 + b"\x02\x40\0\0" + b"prtr" + space + pcs + b"\0" * 12 + b"acsp"
    d50 = struct.pack(">iii", 63190, 65536, 54061)
    return (
        head.ljust(68, b"\0") + d50.ljust(60, b"\0") + struct.pack(">I", len(tags)) + table + body
    )


WHITE = b"XYZ " + b"\0" * 4 + struct.pack(">iii", 63190, 65536, 54061)
LINEAR = b"curv" + b"\0" * 8
GREY = profile_of(b"GRAY", b"XYZ ", {b"wtpt": WHITE, b"kTRC": LINEAR})
# Of a press whose cyan, magenta and yellow print nothing: lightness is what black leaves.
LIGHTNESS = b"".join(bytes((0 if corner & 1 else 255, 128, 128)) for corner in range(16))
STEPS = bytes(range(256))
BLACK = (
    b"mft1" + b"\0" * 4 + b"\4\3\2\0"
    + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    + STEPS * 4 + LIGHTNESS + STEPS * 3
)  # fmt: skip
PRESS = profile_of(b"CMYK", b"Lab ", {b"wtpt": WHITE, b"A2B0": BLACK})


def exchanged() -> bytes:
    """sRGB with red and green exchanged: what was red is green."""
    tags = bytearray(SRGB)
    red, green = tags.index(b"rXYZ"), tags.index(b"gXYZ")
    tags[red : red + 4], tags[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(tags)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def read(folder: Path, data: bytes) -> np.ndarray:
    (folder / "photo").write_bytes(data)
    return read_image(folder / "photo")


def encoded(linear: np.ndarray) -> np.ndarray:
    """(...) 0 to 255 linear -> 0 to 255 as sRGB encodes it (IEC 61966-2-1)."""
    share = linear / 255
    return 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_by_its_profile(tmp_path: Path, kind: str) -> None:
    image = read(tmp_path, saved(Image.fromarray(RAMP), kind, icc_profile=GREY))
    plain = read(tmp_path, saved(Image.fromarray(RAMP), kind))
    assert np.ptp(image, axis=2).max() == 0
    assert np.abs(image - encoded(plain)).max() < 2


def test_grey_beside_transparency(tmp_path: Path) -> None:
    both = Image.merge(
        "LA", [Image.fromarray(RAMP), Image.fromarray(255 * (RAMP > 99).astype(np.uint8))]
    )
    image = read(tmp_path, saved(both, "PNG", icc_profile=GREY))
    assert (image[RAMP <= 99] == 255).all()
    assert np.abs(image - encoded(RAMP)[..., None])[RAMP > 99].max() < 2


def test_a_transparent_colour_is_the_one_that_is_stored(tmp_path: Path) -> None:
    stored = Image.new("RGB", (40, 40), (200, 30, 30))
    data = saved(stored, "PNG", icc_profile=exchanged(), transparency=(200, 30, 30))
    assert (read(tmp_path, data) == 255).all()


def test_a_palette_by_its_profile(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), (200, 30, 30)).quantize(4)
    image = read(tmp_path, saved(image, "PNG", icc_profile=exchanged()))
    assert image[..., 1].min() > 150 > 100 > image[..., 0].max()


@pytest.mark.parametrize("reduction", [1, 2])
def test_inks_by_their_profile(tmp_path: Path, reduction: int) -> None:
    inks = Image.merge("CMYK", [Image.new("L", (64, 64), 200)] * 3 + [Image.new("L", (64, 64), 0)])
    plain, press = saved(inks, "JPEG"), saved(inks, "JPEG", icc_profile=PRESS)
    assert decode(plain, reduction).max() < 80
    assert decode(press, reduction).shape == (64 // reduction, 64 // reduction, 3)
    assert decode(press, reduction).min() > 250
    np.testing.assert_array_equal(read(tmp_path, press), decode(press))


@pytest.mark.parametrize(
    "profile",
    [GREY, PRESS, b"x" * 200, SRGB[:300], bytes(9 * 2**20), GREY.replace(b"GRAY", b"XCLR")],
)
def test_a_profile_of_other_colours_or_a_broken_one_counts_for_nothing(profile: bytes) -> None:
    image = Image.fromarray(draw(1, 1))
    assert to_srgb(image, profile) is None
    np.testing.assert_array_equal(
        decode(saved(image, "JPEG", icc_profile=profile[: 2**20])), decode(saved(image, "JPEG"))
    )


def test_a_profile_is_put_together_from_its_segments() -> None:
    long = bytes(range(256)) * 1000
    data = saved(
        Image.fromarray(draw(1, 1)), "JPEG", icc_profile=long, exif=Image.Exif(), comment=b"x"
    )
    assert icc_profile(data) == long
    second = data.index(b"ICC_PROFILE\0\x02")
    assert icc_profile(data[: second + 12] + b"\x03" + data[second + 13 :]) == b""
    for end in range(2, 60):
        assert icc_profile(data[:end]) == b""


def with_profile(data: bytes, profile: bytes) -> bytes:
    content = b"ICC_PROFILE\0\x01\x01" + profile
    return data[:2] + b"\xff\xe2" + (len(content) + 2).to_bytes(2) + content + data[2:]


def test_a_curated_set_is_in_srgb(tmp_path: Path) -> None:
    """The same set stored with red and green exchanged, and a profile that says so."""
    plain, raw = make_raw(tmp_path / "plain" / "raw"), make_raw(tmp_path / "marked" / "raw")
    for path in raw.rglob("*.jpg"):
        image = cv2.imread(str(path))[..., [0, 2, 1]]
        path.write_bytes(with_profile(jpeg(np.ascontiguousarray(image), 100), exchanged()))
    stored, converted = (curate_tree(folder)[0] for folder in (plain, raw))
    rows = np.arange(len(stored.table))
    assert [*stored.table["source"]] == [*converted.table["source"]]
    difference = stored.pixels(rows).astype(int) - converted.pixels(rows)
    assert np.abs(difference).mean() < 3
