"""Make the planted defects: in the pixels, the face box, or the bytes of the file."""

import io

import cv2
import numpy as np
from PIL import Image

from refsr.synthetic.background import background
from refsr.synthetic.canvas import noise
from refsr.synthetic.plan import Shot
from refsr.synthetic.render import Frame, Picture
from refsr.synthetic.traits import View

# Places in a face box, as shares of its width and height.
_ORIENTATION = 0x0112  # EXIF
# EXIF orientation -> quarter turns to the left of the stored image that it undoes.
_TURNS = {6: 1, 3: 2, 8: 3}
_SMALLER = 0.8  # side of a bystander's image over that of the person's

LANDMARKS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.62), (0.34, 0.8), (0.66, 0.8))


def spoil_picture(picture: Picture, shot: Shot, rng: np.random.Generator) -> Picture:
    """Change the pixels and the box of a rendered image by the kind of its shot."""
    if shot.kind in ("near_duplicate", "cross_duplicate"):
        return _copied(picture, rng)
    if shot.kind == "blurred":
        sigma = float(picture.box[3]) * rng.uniform(0.07, 0.1)
        soft = cv2.GaussianBlur(picture.image, (0, 0), sigma)
        return Picture(soft, picture.box, picture.landmarks)
    if shot.kind == "box_outside":
        return _boxed_outside(picture, rng)
    if shot.kind == "occluded":
        return Picture(_covered(picture, rng), picture.box, picture.landmarks)
    return picture


def no_face(look: View, frame: Frame, rng: np.random.Generator) -> Picture:
    """Objects on a background, with the face box and landmarks of a false detection."""
    image = background(look, frame.width, frame.height)
    for _ in range(rng.integers(3, 8)):
        _thing(image, rng)
    image *= (1 + 0.04 * noise(rng, (frame.height, frame.width), [24, 60]))[..., None]
    height, width = frame.box_height, frame.box_height * 0.8
    box = np.array([frame.x - width / 2, frame.y - height / 2, width, height])
    places = np.array(LANDMARKS) + rng.normal(0, 0.02, (5, 2))
    return Picture(np.clip(image, 0, 255).astype(np.uint8), box, box[:2] + places * box[2:])


def encode(image: np.ndarray, quality: int, kind: str, rng: np.random.Generator) -> bytes:
    """Encode an image, (H, W, 3) uint8 RGB, as JPEG; damaged if `kind` is a broken file.

    Args:
        image: The image.
        quality: The quality of the JPEG.
        kind: The kind of defect; "" for a sound file.
        rng: The source of the place where a truncated file ends.

    Returns:
        The bytes of the file.
    """
    if kind == "zero_byte":
        return b""
    if kind == "rotated":
        return rotated(image, quality, int(rng.choice([*_TURNS])))
    options = [] if kind == "not_jpeg" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, buffer = cv2.imencode(".png" if kind == "not_jpeg" else ".jpg", image[..., ::-1], options)
    if not done:
        raise RuntimeError("OpenCV could not encode an image")
    data = buffer.tobytes()
    return data[: int(len(data) * rng.uniform(0.35, 0.65))] if kind == "truncated" else data


def rotated(image: np.ndarray, quality: int, orientation: int) -> bytes:
    """An image (H, W, 3) uint8 RGB stored turned, with the EXIF orientation that undoes it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    stored = np.ascontiguousarray(np.rot90(image, _TURNS[orientation]))
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "JPEG", quality=quality, exif=exif)
    return file.getvalue()


def beside(image: np.ndarray, other: np.ndarray, side: str) -> np.ndarray:
    """The image (H, W, 3) with a smaller one of somebody else on its `side`, left or right."""
    height, width = image.shape[:2]
    small = cv2.resize(other, (round(_SMALLER * width), round(_SMALLER * height)))
    top = height - len(small)
    padded = cv2.copyMakeBorder(small, top, 0, 0, 0, cv2.BORDER_REPLICATE)
    return np.hstack((image, padded) if side == "right" else (padded, image))


def decode(data: bytes) -> np.ndarray:
    """Decode what `encode` returned for a sound image: (H, W, 3) uint8 RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{len(data)} bytes are not an image")
    return np.asarray(image)


def _copied(picture: Picture, rng: np.random.Generator) -> Picture:
    """A copy as found on the web: encoded again, slightly cropped, slightly brighter or darker."""
    height, width = picture.image.shape[:2]
    cuts = rng.uniform(0, 0.03, 4) * [width, height, width, height]
    left, top, right, bottom = (int(v) for v in cuts)
    image = decode(encode(picture.image, 85, "", rng))
    image = image[top : height - bottom, left : width - right].astype(np.float32)
    image = image * rng.uniform(0.9, 1.12)
    shift = np.array([left, top])
    box = np.concatenate([picture.box[:2] - shift, picture.box[2:]])
    return Picture(np.clip(image, 0, 255).astype(np.uint8), box, picture.landmarks - shift)


def _boxed_outside(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.image.shape[:2]
    x, y, w, h = picture.box
    gap = rng.uniform(3, 40)
    place = [(width + gap, y), (-w - gap, y), (x, height + gap), (x, -h - gap)][rng.integers(4)]
    return Picture(picture.image, np.array([*place, w, h]), picture.landmarks)


def _covered(picture: Picture, rng: np.random.Generator) -> np.ndarray:
    """An object in front of the face that hides all but its rim."""
    x, y, w, h = picture.box
    image = picture.image.astype(np.float32)
    centre = (int(x + w * rng.uniform(0.45, 0.55)), int(y + h * rng.uniform(0.47, 0.57)))
    axes = (int(w * rng.uniform(0.44, 0.55)), int(h * rng.uniform(0.4, 0.48)))
    _put(image, centre, axes, float(rng.uniform(-20, 20)), bool(rng.random() < 0.5), rng)
    return np.clip(image, 0, 255).astype(np.uint8)


def _thing(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a shaded ellipse or rectangle at a random place in the image."""
    height, width = image.shape[:2]
    centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
    axes = (int(rng.uniform(0.08, 0.35) * width) + 1, int(rng.uniform(0.05, 0.3) * height) + 1)
    angle = float(rng.uniform(0, 180))
    _put(image, centre, axes, angle, bool(rng.random() < 0.5), rng)


def _put(
    image: np.ndarray,
    centre: tuple[int, int],
    axes: tuple[int, int],
    angle: float,
    is_round: bool,
    rng: np.random.Generator,
) -> None:
    """Draw an ellipse or a rectangle, lit from above, into a float image; `axes` are halves."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    if is_round:
        cv2.ellipse(mask, centre, axes, angle, 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints((centre, (2 * axes[0], 2 * axes[1]), angle))
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1.0, cv2.LINE_AA)
    ramp = 0.6 + 0.8 * np.linspace(1, 0, height, dtype=np.float32)[:, None]
    colour = rng.uniform(20, 235, 3).astype(np.float32)
    image += mask[..., None] * (colour * ramp[..., None] - image)
