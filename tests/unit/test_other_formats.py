"""PNG, WebP, BMP, AVIF and HEIF in sets without box files:
read by their content, bounded before anything is decoded.
"""

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from people_trees import DETECTOR, NAMES, PARAMS, make_people
from PIL import Image
from raw_trees import draw, embed_colour

from refsr.curation import alignment, decoding
from refsr.curation.curated_writer import write_curated
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.inference.images import decode_image
from refsr.io import boxed_formats, pictures


def encoded_as(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".jpg"])
def test_other_formats_are_read_by_their_content(tmp_path: Path, suffix: str) -> None:
    """Whatever the name; the pixels are those of a JPEG without its losses."""
    raw = make_people(tmp_path / "raw", NAMES[:5], views=3)
    encoded = cv2.imencode(
        ".png" if suffix == ".jpg" else suffix, draw(1, 9), [cv2.IMWRITE_WEBP_QUALITY, 101]
    )[1]
    (raw / NAMES[0] / f"other{suffix}").write_bytes(encoded.tobytes())
    write_curated(PARAMS, raw, tmp_path / "curated", embed_colour, 1, detector=DETECTOR)
    curated = Curated(tmp_path / "curated")
    (row,) = np.flatnonzero(curated.table["source"] == f"{NAMES[0]}/other{suffix}")
    box = curated.table.iloc[row]
    expected = alignment.square_crop(
        np.ascontiguousarray(draw(1, 9)[..., ::-1]),
        box[["x", "y", "w", "h"]].to_numpy(float),
        PARAMS.crop_factor,
        32,
    )
    np.testing.assert_array_equal(curated.pixels(np.array([row]))[0], expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero_byte"),
        (b"<html>", "not_jpeg"),
        (b"GIF89a" + bytes(40), "not_jpeg"),
        (encoded_as(".png", draw(1, 1))[:2000], "truncated"),
        (encoded_as(".webp", draw(1, 1))[:2000], "truncated"),
        (encoded_as(".bmp", draw(1, 1))[:2000], "truncated"),
        (encoded_as(".png", draw(1, 1)[:20, :20]), "tiny"),
        (
            struct.pack(
                "<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 9000, 9000, 1, 24, 0, 0, 0, 0, 0, 0
            ),
            "oversized",
        ),
        (
            struct.pack(
                "<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 90000, 90000, 1, 24, 0, 0, 0, 0, 0, 0
            ),
            "oversized",
        ),
    ],
)
def test_what_is_no_sound_image_has_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(decoding.Reject) as caught:
        decoding.image_size(data, any_format=True)
        decoding.decode(data, 1)
    assert caught.value.reason == reason


def test_colours_are_eight_bits_and_what_is_transparent_is_white() -> None:
    deep = np.full((40, 40), 257 * 100, np.uint16)
    assert np.unique(decoding.decode(encoded_as(".png", deep), 1)[0]).tolist() == [100]
    clear = np.zeros((40, 40, 4), np.uint8)
    assert np.unique(decoding.decode(encoded_as(".png", clear), 1)[0]).tolist() == [255]
    large, reduction = decoding.decode(encoded_as(".png", np.full((101, 90, 3), 7, np.uint8)), 4)
    assert (large.shape, reduction, np.unique(large).tolist()) == ((26, 23, 3), 4, [7])


def boxed(kind: str, image: np.ndarray, orientation: int = 1) -> bytes:
    """An AVIF or a HEIF of an RGB image."""
    assert boxed_formats.registers_heif(), "pillow-heif is not installed"
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(file, kind, quality=95, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_avif_and_heif_are_read_by_their_content_and_upright(kind: str) -> None:
    shown = np.ascontiguousarray(draw(1, 9)[:, :100, ::-1])
    data = boxed(kind, np.ascontiguousarray(np.rot90(shown)), 6)  # turned right, it is upright
    assert boxed_formats.kind(data) == kind
    size = decoding.image_size(data, any_format=True)
    turned = pictures.orientation(data)
    upright = size[::-1] if pictures.swaps_sides(turned) else size
    assert upright == shown.shape[1::-1]
    for pixels in (decoding.decode(data, 1, turned)[0], decode_image(data, "photo.jpg")):
        assert np.abs(pixels.astype(int) - shown).mean() < 6
    with pytest.raises(decoding.Reject, match="not_jpeg"):
        decoding.image_size(data)  # of a set with box files


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """pillow-heif is as if it were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    boxed_formats.registers_heif.cache_clear()
    yield
    boxed_formats.registers_heif.cache_clear()


def test_without_its_package_a_heif_says_what_to_install(
    request: pytest.FixtureRequest,
) -> None:
    data = boxed("HEIF", draw(1, 9))
    request.getfixturevalue("no_heif")
    with pytest.raises(decoding.Reject) as caught:
        decoding.image_size(data, any_format=True)
    assert caught.value.reason == "not_jpeg"
    assert "install refsr[heif]" in caught.value.detail
    with pytest.raises(RefsrError, match=r"a\.heic: it is HEIF; install refsr\[heif\]"):
        decode_image(data, "a.heic")


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_damaged_avif_and_heif_are_rejects(kind: str) -> None:
    """Cut, bytes changed anywhere, and a size that is too large in the header."""
    data = boxed(kind, draw(1, 9)[:64, :64])
    rng = np.random.default_rng(0)
    for number in range(120):
        damaged = bytearray(data[: rng.integers(12, len(data))] if number % 3 == 0 else data)
        for at in rng.integers(12, len(damaged), size=rng.integers(1, 9)):
            damaged[at] = rng.integers(256)
        with pytest.raises(decoding.Reject):
            decoding.image_size(bytes(damaged), any_format=True)
            pixels, _ = decoding.decode(bytes(damaged), 1)
            assert pixels.shape[2] == 3
            raise decoding.Reject("decodes")
    at = data.index(b"ispe") + 8
    large = data[:at] + struct.pack(">II", 9000, 9000) + data[at + 8 :]
    with pytest.raises(decoding.Reject) as caught:
        decoding.image_size(large, any_format=True)
    assert caught.value.reason == "oversized"
