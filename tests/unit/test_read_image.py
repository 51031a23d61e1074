"""Photos in: metadata never decides about pixels, transparency goes on white,
colours become sRGB.
"""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from raw_trees import draw

from refsr.errors import RefsrError
from refsr.inference.images import read_image
from refsr.io.jpeg import JpegError, decode

PIXELS = np.ascontiguousarray(draw(1, 1)[..., ::-1])[:90]  # (90, 120, 3)
NAN = struct.pack("<d", float("nan"))


def exif(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """An EXIF block of one entry; a value of more than four bytes stands behind it."""
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", 26)
    behind = b"" if len(value) <= 4 else value
    entry = struct.pack("<HHHI", 1, tag, kind, count) + inline
    return b"Exif\0\0II*\0\x08\0\0\0" + entry + b"\0\0\0\0" + behind


ODD = {
    "nan": exif(0x011A, 12, 1, NAN),
    "0/0": exif(0x011A, 5, 1, struct.pack("<II", 0, 0)),
    "signed width": exif(0x0100, 9, 1, struct.pack("<i", -5)),
    "bits per sample": exif(0x0102, 3, 60000, b"\x08\0" * 60000)[:65000],
    "unknown type": exif(0x0112, 77, 1, b"\1\0"),
    "orientation as text": exif(0x0112, 2, 4, b"abc\0"),
    "orientation 99": exif(0x0112, 3, 1, struct.pack("<H", 99)),
    "many entries": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
    "loop": b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "empty": b"Exif\0\0",
    "gps": exif(0x8825, 4, 1, struct.pack("<I", 2**31)),
}


def saved(kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(PIXELS).save(target, kind, quality=95, lossless=True, **options)
    return target.getvalue()


def read(folder: Path, data: bytes) -> np.ndarray:
    (folder / "photo").write_bytes(data)
    return read_image(folder / "photo")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", ODD)
def test_odd_exif_leaves_the_pixels_as_they_are(tmp_path: Path, kind: str, name: str) -> None:
    plain = read(tmp_path, saved(kind))
    np.testing.assert_array_equal(read(tmp_path, saved(kind, exif=ODD[name])), plain)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_are_turned_upright(tmp_path: Path, kind: str, turn: int) -> None:
    stored, block = read(tmp_path, saved(kind)), exif(0x0112, 3, 1, struct.pack("<H", turn))
    flipped = stored[:, ::-1] if turn in (2, 4, 5, 7) else stored
    turned = np.rot90(flipped, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[turn])
    np.testing.assert_array_equal(read(tmp_path, saved(kind, exif=block)), turned)


def chunk(kind: bytes, data: bytes, right: bool = True) -> bytes:
    return len(data).to_bytes(4) + kind + data + (zlib.crc32(kind + data) ^ (not right)).to_bytes(4)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30 * 2**20))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2**21),
        chunk(b"tEXt", b"Comment\0x", right=False),
        chunk(b"iCCP", b"name\0\0no zlib"),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile" * 50)),
        chunk(b"iCCP", b"name\0\0", right=False),
        chunk(b"eXIf", b"II", right=False),
        chunk(b"pHYs", b""),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", b"\0"),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"odDd", b"?"),
    ],
    ids=lambda data: f"{data[4:8].decode()}-{len(data)}",
)
def test_odd_chunks_of_a_png_leave_the_pixels_as_they_are(tmp_path: Path, extra: bytes) -> None:
    whole = saved("PNG")
    np.testing.assert_array_equal(read(tmp_path, whole[:33] + extra + whole[33:]), PIXELS)


@pytest.mark.parametrize(
    "profile", [b"", b"x" * 200, bytes(128), b"\0" * 36 + b"acsp" + b"\0" * 300]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_profile_leaves_the_pixels_as_they_are(
    tmp_path: Path, kind: str, profile: bytes
) -> None:
    plain = read(tmp_path, saved(kind))
    np.testing.assert_array_equal(read(tmp_path, saved(kind, icc_profile=profile)), plain)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colours_are_converted_to_srgb(tmp_path: Path, kind: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read(tmp_path, saved(kind)).astype(int)
    assert np.abs(read(tmp_path, saved(kind, icc_profile=srgb)) - plain).max() <= 2
    # The same profile with red and green exchanged: what was red is green.
    tags = bytearray(srgb)
    red, green = tags.index(b"rXYZ"), tags.index(b"gXYZ")
    tags[red : red + 4], tags[green : green + 4] = b"gXYZ", b"rXYZ"
    exchanged = read(tmp_path, saved(kind, icc_profile=bytes(tags)))
    assert np.abs(exchanged[..., [1, 0, 2]] - plain).mean() < 3 < np.abs(exchanged - plain).mean()


def white_square(mode: str, transparent: object) -> bytes:
    target = io.BytesIO()
    Image.new(mode, (40, 40), 0).save(target, "PNG", transparency=transparent)
    return target.getvalue()


def sixteen_bits(colour: int, values: tuple[int, ...], transparent: tuple[int, ...]) -> bytes:
    """A PNG of 16 bits, 40 x 40, of one colour, and the colour that is transparent."""
    header = struct.pack(">IIBBBBB", 40, 40, 16, colour, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(values)}H", *values) * 40
    key = struct.pack(f">{len(values)}H", *transparent)
    parts = ((b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(row * 40)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    "data",
    [
        white_square("L", 0),
        white_square("RGB", (0, 0, 0)),
        sixteen_bits(0, (5000,), (5000,)),
        sixteen_bits(2, (5000, 300, 60000), (5000, 300, 60000)),
    ],
)
def test_a_transparent_colour_goes_on_white(tmp_path: Path, data: bytes) -> None:
    assert (read(tmp_path, data) == 255).all()


@pytest.mark.parametrize(
    "data", [sixteen_bits(0, (257 * 80,), (1,)), sixteen_bits(2, (257 * 80,) * 3, (1, 2, 3))]
)
def test_another_colour_of_16_bits_is_made_8(tmp_path: Path, data: bytes) -> None:
    assert (read(tmp_path, data) == 80).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_image_is_one_message(tmp_path: Path, kind: str) -> None:
    data = saved(kind)
    for end in range(0, len(data) - 1, len(data) // 40):
        with pytest.raises(RefsrError, match="photo: "):
            read(tmp_path, data[:end])
    with pytest.raises(RefsrError, match=r"photo: .*(truncated|damaged|cannot be read)"):
        read(tmp_path, data[: len(data) * 2 // 3] + b"\xff\xd9")


def test_an_animation_is_read_as_its_first_frame(tmp_path: Path) -> None:
    target = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(target, "PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(tmp_path, target.getvalue()), PIXELS)


def test_texts_of_many_megabytes_do_not_fill_the_memory(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    for number in range(80):
        texts.add_text(f"note {number}", "x" * 900_000, zip=True)
    np.testing.assert_array_equal(read(tmp_path, saved("PNG", pnginfo=texts)), PIXELS)


def claiming(kind: str, side: int) -> bytes:
    """A small file whose header says that it is square, with this side."""
    data = bytearray(saved(kind))
    if kind == "PNG":
        return (
            bytes(data[:8])
            + chunk(b"IHDR", struct.pack(">II", side, side) + bytes(data[24:29]))
            + bytes(data[33:])
        )
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
        return bytes(data)
    moving = {
        "save_all": True,
        "append_images": [Image.fromarray(255 - PIXELS)],
    }  # frames less than the canvas
    data = bytearray(saved(kind, **moving))
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, kind: str) -> None:
    for side in (8001, 16383):
        with pytest.raises(RefsrError, match=r"photo: .*too large; at most 64,000,000 pixels"):
            read(tmp_path, claiming(kind, side))


def test_the_decoders_refuse_too_many_pixels_themselves(tmp_path: Path) -> None:
    with pytest.raises(JpegError, match="at most 64,000,000"):
        decode(claiming("JPEG", 8001))
    (tmp_path / "photo.png").write_bytes(claiming("PNG", 8001))
    script = "import refsr, sys, cv2; cv2.imread(sys.argv[1])"
    opened = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "photo.png"], capture_output=True, text=True
    )
    assert "CV_IO_MAX_IMAGE_PIXELS" in opened.stderr
