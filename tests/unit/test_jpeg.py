"""JPEG in: the decoder's warnings count, its own header decides about size,
and its time is bounded.
"""

import cv2
import numpy as np
import pytest
from raw_trees import draw, jpeg

from refsr.curation import decoding
from refsr.curation.decoding import Reject
from refsr.io.jpeg import JpegError, decode

SEEDS = range(25)
REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def photo(seed: int, *options: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 256, (20, 16, 3), np.uint8), (131, 157), interpolation=cv2.INTER_CUBIC
    )
    return bytes(cv2.imencode(".jpg", image, options)[1])


def cut_and_ended(data: bytes, rng: np.random.Generator) -> bytes:
    """What an interrupted download looks like after a tool has mended its end."""
    return data[: int(len(data) * rng.uniform(0.5, 0.9))] + b"\xff\xd9"


def without_a_restart_segment(data: bytes, rng: np.random.Generator) -> bytes:
    markers = [
        at for at in range(data.index(b"\xff\xda"), len(data) - 1) if data[at : at + 2] in RESTARTS
    ]
    first = int(rng.integers(len(markers) - 2))
    return data[: markers[first]] + data[markers[first + 1] :]


def with_garbage_before_a_segment(data: bytes, rng: np.random.Generator) -> bytes:
    at = data.index(b"\xff\xdb")
    return data[:at] + rng.integers(0, 255, 9, np.uint8).tobytes() + data[at:]


def with_a_marker_in_the_scan(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(data.index(b"\xff\xda") + 100, len(data) - 100))
    return data[:at] + b"\xff\xd5" + data[at:]


RESTARTS = {bytes([0xFF, marker]) for marker in range(0xD0, 0xD8)}
DAMAGES = (
    cut_and_ended,
    without_a_restart_segment,
    with_garbage_before_a_segment,
    with_a_marker_in_the_scan,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_image_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    for seed in SEEDS:
        whole = photo(seed, cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
        decoding.decode(whole, 1)
        data = damage(whole, np.random.default_rng(seed))
        with pytest.raises(Reject) as caught:
            decoding.image_size(data)
            decoding.decode(data, 1)
        assert caught.value.reason == "truncated", seed


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_QUALITY, 30)]
)
def test_pixels_are_those_of_opencv(reduction: int, options: tuple[int, ...]) -> None:
    flags = REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    for seed in SEEDS[:5]:
        data = photo(seed, *options)
        np.testing.assert_array_equal(
            decode(data, reduction), cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        )


def test_a_grey_jpeg_is_decoded_to_three_equal_colours() -> None:
    image = decode(jpeg(draw(1, 1)[..., 0]))
    assert image.shape == (120, 120, 3)
    assert np.ptp(image, axis=2).max() == 0


def frame(width: int, height: int) -> bytes:
    return (
        b"\xff\xc0\x00\x11\x08"
        + height.to_bytes(2)
        + width.to_bytes(2)
        + b"\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01"
    )


@pytest.mark.parametrize(
    "filler",
    [b"", b"\x00", b"\xff\xff", b"\xff\x00", b"\x00" * 30, b"\xff\xd8", b"\xff\xe0\x00\x02"],
)
def test_no_frame_header_is_hidden_from_the_check_of_sizes(filler: bytes) -> None:
    """Whatever stands before either of two frame headers, no image of 900 megapixels is decoded."""
    whole = photo(1)
    at = whole.index(b"\xff\xc0")
    for hidden in (
        whole[:at] + filler + frame(30000, 30000) + whole[at:],
        whole[: at + 19] + filler + frame(30000, 30000) + whole[at + 19 :],
        whole[:at] + filler + frame(30000, 30000) + whole[at + 19 :],
        whole[:2] + filler + frame(30000, 30000) + whole[2:],
    ):
        with pytest.raises(Reject) as caught:
            decoding.image_size(hidden)
            decoding.decode(hidden, 1)
        assert caught.value.reason in ("oversized", "truncated")


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan said `count` times more."""
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + data[at:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    data = photo(1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decoding.image_size(data) == (131, 157)
    with pytest.raises(Reject) as caught:
        decoding.image_size(with_scans(data, 4000))
    assert (caught.value.reason, caught.value.value > 4000) == ("costly", True)


def test_few_scans_of_very_many_pixels_are_refused_too() -> None:
    data = photo(1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    at = data.index(b"\xff\xc2")
    large = data[: at + 5] + (7000).to_bytes(2) * 2 + data[at + 9 :]
    decoding.image_size(large)
    with pytest.raises(Reject, match="costly"):
        decoding.image_size(with_scans(large, 20))


def test_the_error_says_what_the_decoder_said() -> None:
    with pytest.raises(JpegError, match="premature end"):
        decode(cut_and_ended(photo(3), np.random.default_rng(0)))
