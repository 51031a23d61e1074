"""AVIF and HEIF, which share a container: told apart by the brands it names.

Pillow decodes AVIF itself where it was built so. HEIF takes the package pillow-heif, which the
extra `refsr[heif]` installs.
"""

from functools import cache

from PIL import features

FORMATS = AVIF, HEIF = "AVIF", "HEIF"
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_CONTAINERS = {b"mif1", b"msf1"}  # of either; the compatible brands say which
_MOST_BRANDS = 64  # of a file that are read
INSTALL_HEIF = "HEIF; install refsr[heif], or pillow-heif, to decode it"
_INSTALL_AVIF = "AVIF, which this build of Pillow does not decode; install Pillow's own wheel"


def kind(data: bytes) -> str:
    """AVIF, HEIF, or "" for other content."""
    if data[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(data[:4]), 16 + 4 * _MOST_BRANDS, len(data))
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if data[8:12] in _HEIF_BRANDS or (brands & _HEIF_BRANDS and not brands & _AVIF_BRANDS):
        return HEIF
    if brands & _AVIF_BRANDS:
        return AVIF
    return HEIF if data[8:12] in _CONTAINERS else ""


def missing(data: bytes) -> str:
    """What is to be installed for a file to be decoded; "" where nothing is missing."""
    content = kind(data)
    if content == HEIF and not registers_heif():
        return INSTALL_HEIF
    if content == AVIF and not features.check("avif"):
        return _INSTALL_AVIF
    return ""


@cache
def registers_heif() -> bool:
    """Make Pillow decode HEIF, where pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True
