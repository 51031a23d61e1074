"""HR pixels on disk, so many images to a shard: memory-mapped as they are, or as JPEGs (benchmarks/shards.py).

raw   hr-00000.npy   (N, H, H, 3) uint8 RGB
jpeg  hr-00000.jpgs  the JPEGs one after another, quality 95 without chroma subsampling
      hr-00000.npy   (N + 1,) int64, where each begins in it, and the end of the last
"""

import tokenize
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0

from refsr.errors import RefsrError
from refsr.io.exhausted import out_of_memory

_QUALITY = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)


def place(count: int, per_shard: int) -> tuple[np.ndarray, np.ndarray]:
    """(shard, index in it) of images 0 ... count-1."""
    rows = np.arange(count)
    return rows // per_shard, rows % per_shard


def write_shards(
    folder: Path, images: Iterator[np.ndarray], count: int, size: int, per_shard: int, kind: str = "raw"
) -> None:
    """Write `count` images (size, size, 3) uint8 into `folder`, `per_shard` to a file; the last file holds the rest.

    `kind` is raw or jpeg.
    """
    write = _write_jpegs if kind == "jpeg" else _write_raw
    for number, start in enumerate(range(0, count, per_shard)):
        write(folder / f"hr-{number:05d}.npy", images, min(per_shard, count - start), size)


def _write_raw(path: Path, images: Iterator[np.ndarray], count: int, size: int) -> None:
    # Written, not mapped: what is written to a map stays in memory until the shard is full.
    with path.open("wb") as file:
        write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)})
        for _ in range(count):
            file.write(np.ascontiguousarray(next(images)).data)


def _write_jpegs(path: Path, images: Iterator[np.ndarray], count: int, size: int) -> None:
    del size  # each JPEG tells it
    offsets = np.zeros(count + 1, np.int64)
    with path.with_suffix(".jpgs").open("wb") as file:
        for row in range(count):
            file.write(cv2.imencode(".jpg", next(images)[..., ::-1], _QUALITY)[1].tobytes())
            offsets[row + 1] = file.tell()
    np.save(path, offsets)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Threads to decode JPEGs: OpenCV lets others run meanwhile, and a GPU trains faster than one thread decodes."""
    return ThreadPoolExecutor(thread_name_prefix="jpeg")


def _open_array(path: Path) -> np.ndarray:
    """An .npy file, mapped. Raises OSError or ValueError."""
    try:
        return open_memmap(path, mode="r")  # np.load would take an archive, too
    except tokenize.TokenError as error:  # of a damaged header
        raise ValueError(f"{path}: {error}") from error


class Shard:
    """A shard opened for reading: `len`, and pixels by index."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError where it is missing or damaged."""
        self.path = path
        self._array = _open_array(path)
        self.is_jpeg: bool = self._array.ndim == 1
        if self.is_jpeg:
            offsets = self._array
            if offsets.dtype != np.int64 or len(offsets) < 2 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
                raise ValueError(f"{path}: no list of where JPEGs begin")
            self._jpegs = np.memmap(path.with_suffix(".jpgs"), np.uint8, mode="r")
            if self._array[-1] != len(self._jpegs):
                raise ValueError(f"{self.path.with_suffix('.jpgs')}: {len(self._jpegs)} bytes, not {self._array[-1]}")
        elif self._array.shape[3:] != (3,) or self._array.dtype != np.uint8 or 0 in self._array.shape:
            raise ValueError(f"{path}: {self._array.dtype} {self._array.shape} are no images")

    def __len__(self) -> int:
        return len(self._array) - self.is_jpeg

    def size(self) -> int:
        """The side of its images, pixels; 0 where they are not square."""
        height, width = self.pixels(np.array([0])).shape[1:3]
        return int(height) if height == width else 0

    def pixels(self, index: np.ndarray) -> np.ndarray:
        """The images of these places, (N, H, H, 3) uint8 RGB. Raises RefsrError where one does not decode."""
        if not self.is_jpeg:
            return np.asarray(self._array[index])
        images = list(_decoders().map(self._decoded, index))
        if len({image.shape for image in images}) > 1:
            raise RefsrError(f"{self.path}: images of several sizes; run the stage `curate` again")
        return np.stack(images)

    def _decoded(self, at: int) -> np.ndarray:
        data = self._jpegs[self._array[at] : self._array[at + 1]]
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
        except cv2.error as error:
            if out_of_memory(error):
                raise MemoryError("OpenCV: not enough memory to decode an image") from error
            image = None
        if image is None:
            raise RefsrError(f"{self.path.with_suffix('.jpgs')}: image {at} is damaged; run the stage `curate` again")
        return np.asarray(image)
