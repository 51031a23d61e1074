"""A video, frame by frame: one face is followed, and restored with the same references.

Landmarks are smoothed over time and the square keeps its size while it nearly fits, so that the
face trembles less (benchmarks/video.py measures it).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from refsr.errors import RefsrError
from refsr.inference import faces
from refsr.inference.faces import Face, Square
from refsr.inference.options import MAX_SCALE, SHARPNESS, require_range
from refsr.inference.paste import paste
from refsr.inference.photo import natural_scale, plain
from refsr.inference.portraits import Portrait, best, distances_to, fits_of
from refsr.inference.restoration import FaceModel, restore
from refsr.io.atomic import write_file
from refsr.io.limits import MAX_PIXELS
from refsr.io.paths import require_parent
from refsr.progress import track

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_NEW = 0.6  # share of a frame's landmarks in the smoothed ones
_HELD = 12  # frames over which a face that is not detected keeps its place
_RATE = 25.0  # frames per second, where the file does not say


@dataclass(frozen=True)
class EnlargedVideo:
    """What was done: frames in all, and frames whose face was restored."""

    frames: int
    restored: int


class Follower:
    """One face through the frames of a video."""

    def __init__(self, model: FaceModel, portraits: Sequence[Portrait]) -> None:
        self._model = model
        self._portraits = portraits
        self._points: np.ndarray | None = None
        self._side: int | None = None
        self._missed = 0

    def square(self, frame: np.ndarray) -> Square | None:
        """Where the face is in a frame (H, W, 3); None where it is not to be seen."""
        points = self._place(frame)
        if points is None:
            return None
        square = faces.square_of(points, self._model.usual_landmarks, self._side)
        self._side = square.side
        return square

    def _place(self, frame: np.ndarray) -> np.ndarray | None:
        """The smoothed landmarks (5, 2)."""
        detected = faces.detect(frame)
        if self._points is None:
            self._points = self._first(frame, detected)
            return self._points
        face = _near(self._points, detected)
        if face is None:
            self._missed += 1
            if self._missed > _HELD:
                self._points, self._missed = self._first(frame, detected), 0
            return self._points
        self._missed = 0
        self._points = self._points + _NEW * (face.points - self._points)
        return self._points

    def _first(self, frame: np.ndarray, detected: Sequence[Face]) -> np.ndarray | None:
        """The face that fits the references, else the main one."""
        if not detected:
            return None
        usual = self._model.usual_landmarks
        squares = [faces.square_of(face.points, usual) for face in detected]
        distances = distances_to(self._model, frame, detected, squares, self._portraits)
        crops = [faces.cut(frame, square) for square in squares]
        fits = [fits_of(self._model, crop, self._portraits) for crop in crops]
        return detected[best(distances, fits)].points


def _near(points: np.ndarray, detected: Sequence[Face]) -> Face | None:
    """The face nearest to where it was, if it moved by less than its own size."""
    middle, size = points.mean(axis=0), np.ptp(points, axis=0).max()
    moves = [float(np.linalg.norm(face.points.mean(axis=0) - middle)) for face in detected]
    at = int(np.argmin(moves)) if moves else -1
    return detected[at] if moves and moves[at] < size else None


def enlarge_frames(
    model: FaceModel,
    frames: Iterator[np.ndarray],
    portraits: Sequence[Portrait],
    scale: float | None,
    sharpness: float = SHARPNESS,
) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame (H, W, 3) enlarged, and the share of the network's detail in its face.

    Args:
        model: The network.
        frames: All of one size.
        portraits: See `refsr.inference.photo.enlarge`.
        scale: Of all frames; None: by the first face.
        sharpness: See `refsr.inference.photo.enlarge`.
    """
    follower = Follower(model, portraits)
    references = [each.pixels for each in portraits]
    for frame in frames:
        square, added = follower.square(frame), 0.0
        if scale is None:
            known = natural_scale(model, square) if square else model.hr_size / model.lr_size
            scale = float(known)
        canvas = plain(frame, scale)
        if square:
            face, added = restore(model, faces.cut(frame, square), references, sharpness)
            paste(canvas, face, square, scale)
        yield canvas, added


def require_codec(target: Path) -> None:
    """Raises RefsrError unless a video of this name can be written."""
    if target.suffix.lower() not in CODECS:
        raise RefsrError(f"{target}: the output is to end in one of {', '.join(CODECS)}")
    require_parent(target)


def upscale_video(
    model: FaceModel,
    source: Path,
    target: Path,
    portraits: Sequence[Portrait],
    *,
    scale: float | None = None,
    sharpness: float = SHARPNESS,
) -> EnlargedVideo:
    """Enlarge a video; its sound is left out.

    Args:
        model: The network.
        source: What OpenCV reads.
        target: A file that ends in one of CODECS.
        portraits: See `refsr.inference.photo.enlarge`.
        scale: See `enlarge_frames`.
        sharpness: See `refsr.inference.photo.enlarge`.

    Raises:
        RefsrError: The source is no video, or the target cannot be written.
    """
    require_range("scale", scale, 1, MAX_SCALE)
    require_range("sharpness", sharpness, 0, 1)
    shares: list[float] = []
    with _opened(source) as video:
        rate = video.get(cv2.CAP_PROP_FPS)
        total = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        made = enlarge_frames(model, _frames(video), portraits, scale, sharpness)
        images = _noting(track(made, total=total, desc="upscaled", unit="frame"), shares)
        write_file(target, lambda partial: _write(images, partial, target.suffix.lower(), rate))
    return EnlargedVideo(len(shares), sum(share > 0 for share in shares))


def _noting(made: Iterable[tuple[np.ndarray, float]], shares: list[float]) -> Iterator[np.ndarray]:
    """The images; what the network added to each is noted in `shares`."""
    for image, share in made:
        shares.append(share)
        yield image


@contextmanager
def _opened(source: Path) -> Iterator[cv2.VideoCapture]:
    """The frames of a file. Raises RefsrError where it is missing, no video, or too large."""
    if not source.is_file():
        raise RefsrError(f"{source}: no such file")
    if cv2.haveImageReader(str(source)) and source.suffix.lower() != ".gif":
        raise RefsrError(f"{source}: an image, no video; `refsr upscale` enlarges it")
    video = cv2.VideoCapture(str(source))
    try:
        width, height = (
            int(video.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if not video.isOpened() or width < 1 or height < 1:
            raise RefsrError(f"{source}: not a video that OpenCV can read")
        if width * height > MAX_PIXELS:
            raise RefsrError(f"{source}: {width}x{height} is too large; at most {MAX_PIXELS:,}")
        yield video
    finally:
        video.release()


def _frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        there, frame = video.read()
        if not there:
            return
        yield np.ascontiguousarray(frame[..., ::-1])


def _write(images: Iterator[np.ndarray], partial: Path, suffix: str, rate: float) -> None:
    """Write the video at `partial`, through a file whose name tells OpenCV the container."""
    first = next(images, None)
    if first is None:
        raise RefsrError("the video has no frame that can be read")
    named = partial.with_suffix(suffix)
    size, codec = (first.shape[1], first.shape[0]), cv2.VideoWriter.fourcc(*CODECS[suffix])
    rate = rate if math.isfinite(rate) and rate > 0 else _RATE
    writer = cv2.VideoWriter(str(named), codec, rate, size)
    try:
        if not writer.isOpened():
            raise RefsrError(f"OpenCV cannot write {suffix} videos of {size[0]}x{size[1]} pixels")
        for image in chain([first], images):
            writer.write(np.ascontiguousarray(image[..., ::-1]))
        writer.release()
        named.replace(partial)
    finally:
        writer.release()
        named.unlink(missing_ok=True)
