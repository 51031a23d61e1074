"""Convert images with an ICC profile to sRGB."""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

MAX_PROFILE = 8 * 2**20  # bytes; profiles of presses have two million
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # by the colour space of a profile


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert an image of mode RGB, L or CMYK to sRGB, mode RGB.

    Returns None where the profile is damaged, unknown, or of another colour space; the caller then
    ignores it.
    """
    if len(profile) > MAX_PROFILE:
        return None
    try:
        transform = _transform(profile, image.mode)
        return None if transform is None else ImageCms.applyTransform(image, transform)
    except Exception:  # the library raises many types for damaged profiles
        return None


@lru_cache(maxsize=8)  # photos of one source have the same profile
def _transform(profile: bytes, mode: str) -> Any:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if _MODES.get(source.profile.xcolor_space.strip()) != mode:
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
