"""Colours by an ICC profile -> sRGB, for every image that is read."""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

MAX_PROFILE = 8 * 2**20  # bytes; those of presses have two million
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # by the colours of a profile


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An image of mode RGB, L or CMYK in sRGB, mode RGB.

    None where the profile is broken, unknown, or not one of such colours: then it counts for nothing.
    """
    if len(profile) > MAX_PROFILE:
        return None
    try:
        transform = _transform(profile, image.mode)
        return None if transform is None else ImageCms.applyTransform(image, transform)
    except Exception:  # whatever the library says of broken content
        return None


@lru_cache(maxsize=8)  # photos of one source have the same profile
def _transform(profile: bytes, mode: str) -> Any:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if _MODES.get(source.profile.xcolor_space.strip()) != mode:
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
