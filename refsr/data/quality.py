"""One image: is it a whole JPEG of sane size, where is its face, how sharp is it, and what does it look like."""

import cv2
import numpy as np

CHIP = 150  # side of the face chip the identity network takes, pixels
THUMB = 32  # side of the thumbnail by which copies are confirmed, pixels
MIN_SIDE = 32
_SHARPNESS_SIZE = 64
MAX_PIXELS = 50_000_000

# Eye centres, nose tip and mouth corners on a chip: dlib's mean face with its padding of 0.25 (get_face_chip_details).
_TEMPLATE = (
    np.array([[0.2255, 0.2160], [0.7548, 0.2160], [0.4901, 0.5156], [0.2541, 0.7802], [0.7261, 0.7802]]) + 0.25
) * (CHIP / 1.5)
_NOSE_DEPTH = 0.6  # nose tip before the plane of the eyes, in distances between the eyes
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# The reduction's bit alone; the flags named REDUCED_COLOR hold that of BGR as well.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# Markers that stand alone: TEM, RST0-7, SOI; all others are followed by the length of their segment.
_BARE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame: holds the size


class Reject(Exception):  # noqa: N818 - a verdict, not an error
    """An image that cannot be used: the reason (see manifest.REASONS), what was measured, and words."""

    def __init__(self, reason: str, value: float = float("nan"), detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.value, self.detail = reason, value, detail


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG from its header, nothing decoded. Raises Reject where it is not whole or not sane."""
    if not data:
        raise Reject("zero_byte", 0.0)
    if not data.startswith(b"\xff\xd8"):
        raise Reject("not_jpeg", detail=f"begins with {data[:4].hex(' ')}")
    size, scan = _parse_header(data)
    # Within a scan 0xFF is always followed by 0x00 or a restart marker, so an end marker after its start is the end.
    if size is None or data.rfind(b"\xff\xd9") < scan:
        raise Reject("truncated", float(len(data)), f"{len(data)} bytes and no end of image")
    if min(size) < MIN_SIDE:
        raise Reject("tiny", float(min(size)), f"{size[0]}x{size[1]} px; {MIN_SIDE} are needed")
    if size[0] * size[1] > MAX_PIXELS:
        raise Reject("oversized", float(size[0] * size[1]), f"{size[0]}x{size[1]} px; at most {MAX_PIXELS} are decoded")
    return size


def _parse_header(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """((width, height), offset of the first scan); None where the header breaks off."""
    at, size = 2, None
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            break
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES and at + 9 <= len(data):
            size = (int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7]))
        if marker == 0xDA:
            return size, at
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None, len(data)


def clamp_box(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a box (x, y, w, h) within an image of (width, height). Raises Reject where there is none."""
    corners = np.clip([box[:2], box[:2] + box[2:]], 0, size)
    sides = corners[1] - corners[0]
    if min(sides) <= 0:
        raise Reject("box_outside", detail=f"box {box.tolist()} in an image of {size[0]}x{size[1]} px")
    return np.array([*corners[0], *sides])


def decode(data: bytes, side: float, need: int) -> tuple[np.ndarray, int]:
    """(image (H, W, 3) uint8 RGB, reduction): reduced 2, 4 or 8 times while `side` source pixels stay `need` or more.

    The reduction happens in the JPEG's own cosine domain, which is quicker and antialiased. EXIF rotation is ignored,
    since boxes and landmarks are told in stored pixels. Raises Reject where the data does not decode.
    """
    reduction = next(factor for factor in (8, 4, 2, 1) if factor == 1 or side / factor >= need)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduction] | _RGB)
    if image is None:
        raise Reject("truncated", float(len(data)), "does not decode")
    return image, reduction


def square_crop(image: np.ndarray, box: np.ndarray, factor: float, size: int) -> np.ndarray:
    """(size, size, 3): the square of side `factor` x the longer side of `box`, about its centre.

    Antialiased where it shrinks, cubic where it grows; what lies outside the image is its reflection.
    """
    side = max(2, round(factor * float(max(box[2:]))))
    left, top = (np.round(box[:2] + (box[2:] - side) / 2)).astype(int)
    height, width = image.shape[:2]
    inner = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    margins = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(margins):
        inner = cv2.copyMakeBorder(inner, *margins, cv2.BORDER_REFLECT_101)
    way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    crop: np.ndarray = cv2.resize(inner, (size, size), interpolation=way)
    return crop


def face_chip(image: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(150, 150, 3): the face turned and scaled so that its landmarks `points` (5, 2) lie as dlib's mean face has them.

    Least squares over similarities in closed form. Without landmarks (NaN) it is the square about the box.
    """
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1:
        return square_crop(image, box, 1.25, CHIP)
    source, target = points @ (1, 1j), _TEMPLATE @ (1, 1j)
    centred = source - source.mean()
    turn = (centred.conj() @ target) / (centred.conj() @ centred).real
    shift = target.mean() - turn * source.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    # With a fourth channel cv2 gives the same pixels, and at VGGFace2's usual size sooner.
    four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(four, matrix, (CHIP, CHIP), borderMode=cv2.BORDER_REFLECT_101)
    chip: np.ndarray = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return chip


def chip_corner(chip: np.ndarray, corner: int) -> np.ndarray:
    """One of the four corners of a chip, a third of its side, blown up to a chip: background, hair or clothes."""
    third = CHIP // 3
    rows, columns = (slice(-third, None) if end else slice(third) for end in divmod(corner, 2))
    enlarged: np.ndarray = cv2.resize(chip[rows, columns], (CHIP, CHIP), interpolation=cv2.INTER_CUBIC)
    return enlarged


def head_yaw(points: np.ndarray) -> np.ndarray:
    """(N, 5, 2) landmarks -> (N,) degrees: 0 frontal, positive where the nose points to the right of the image.

    The nose's offset from between the eyes, against the distance of the eyes, both across the line from eyes to mouth.
    """
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    down = mouth - eyes
    across = np.stack([down[:, 1], -down[:, 0]], axis=1)
    offset = ((points[:, 2] - eyes) * across).sum(axis=1)
    span = ((points[:, 1] - points[:, 0]) * across).sum(axis=1)
    return np.asarray(np.degrees(np.arctan2(offset, _NOSE_DEPTH * np.maximum(span, 0))))


def luminance(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8, BT.601."""
    grey: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return grey


def sharpness(image: np.ndarray) -> float:
    """From 0 to 1: the share of the luminance's variation from pixel to pixel that a 5 x 5 blur takes away.

    What is blurred already loses little by another blur (Crété et al., "The Blur Effect", 2007), be it dim or have few
    edges. Images of more than 64 pixels are reduced to that first, so that one limit serves for any size from there on.
    """
    grey = luminance(image)
    if len(grey) > _SHARPNESS_SIZE:
        grey = cv2.resize(grey, (_SHARPNESS_SIZE, _SHARPNESS_SIZE), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    before = _variation(grey)
    return max(0.0, 1 - _variation(cv2.blur(grey, (5, 5))) / before) if before > 0 else 0.0


def _variation(grey: np.ndarray) -> float:
    return float(cv2.norm(grey[1:], grey[:-1], cv2.NORM_L1) + cv2.norm(grey[:, 1:], grey[:, :-1], cv2.NORM_L1))


def difference_hash(image: np.ndarray) -> int:
    """64 bits: whether each of 8 x 8 cells of the luminance is brighter than its right neighbour."""
    cells = cv2.resize(luminance(image), (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes())


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(32, 32) uint8 luminance."""
    small: np.ndarray = cv2.resize(luminance(image), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return small
