"""Images, as curation and as `upscale` decode them."""

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.damage import damaged
from refsr.curation.decoding import decode, image_size
from refsr.inference.images import read_image

FORMATS = {
    ".jpg": ("JPEG", {"progressive": True}),
    ".jpeg": ("JPEG", {}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {}),
}


def mutate(rng: np.random.Generator) -> tuple[str, bytes]:
    """A damaged photo of one of the formats, or half of one."""
    suffix = list(FORMATS)[rng.integers(len(FORMATS))]
    data = _photo(suffix)
    if rng.random() < 0.2:
        data = data[: int(rng.integers(1, len(data)))]
        return suffix, data + (b"\xff\xd9" if rng.random() < 0.5 else b"")
    return suffix, damaged(data, rng)


def read_for_upscaling(path: Path) -> None:
    """As `upscale` does."""
    read_image(path)


def read_for_curation(path: Path) -> None:
    """As `curate` does."""
    data = path.read_bytes()
    image_size(data)
    decode(data, 2.0)


@cache
def _photo(suffix: str) -> bytes:
    kind, options = FORMATS[suffix]
    y, x = np.mgrid[:96, :64]
    pixels = np.stack([x * 3, y * 2, (x + y) % 256], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, exif=exif, **options)
    return target.getvalue()
