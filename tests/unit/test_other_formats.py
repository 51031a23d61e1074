"""PNG, WebP and BMP in sets without box files:
read by their content, bounded before anything is decoded.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from people_trees import DETECTOR, NAMES, PARAMS, make_people
from raw_trees import draw, embed_colour

from refsr.curation import alignment, decoding
from refsr.curation.curated_writer import write_curated
from refsr.dataset.curated import Curated


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
