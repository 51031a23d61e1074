"""HR pixels on disk, some images per shard.

Shards are raw and memory-mapped, or JPEGs (benchmarks/shards.py).

raw   hr-00000.npy   (N, H, H, 3) uint8 RGB
jpeg  hr-00000.jpgs  JPEGs one after another, quality 95 without chroma subsampling
      hr-00000.npy   (N + 1,) int64: where each begins in it, and the end of the last
"""

import tokenize
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
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
    folder: Path,
    images: Iterator[np.ndarray],
    count: int,
    size: int,
    per_shard: int,
    kind: str = "raw",
) -> None:
    """Write images into the shards of a folder.

    Args:
        folder: Where the shards go.
        images: (size, size, 3) uint8 RGB each.
        count: How many there are.
        size: Their side, in pixels.
        per_shard: Images per shard; the last one has the rest.
        kind: raw or jpeg.
    """
    write = _write_jpegs if kind == "jpeg" else _write_raw
    for number, start in enumerate(range(0, count, per_shard)):
        write(folder / f"hr-{number:05d}.npy", images, min(per_shard, count - start), size)


def _write_raw(path: Path, images: Iterator[np.ndarray], count: int, size: int) -> None:
    # Written, not mapped: pages of a map stay in memory until the shard is full.
    with path.open("wb") as file:
        write_array_header_1_0(
            file,
            {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)},
        )
        for _ in range(count):
            file.write(np.ascontiguousarray(next(images)).data)


def _write_jpegs(path: Path, images: Iterator[np.ndarray], count: int, size: int) -> None:
    del size  # each JPEG has its own
    offsets = np.zeros(count + 1, np.int64)
    with path.with_suffix(".jpgs").open("wb") as file:
        for row in range(count):
            file.write(cv2.imencode(".jpg", next(images)[..., ::-1], _QUALITY)[1].tobytes())
            offsets[row + 1] = file.tell()
    np.save(path, offsets)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Threads that decode JPEGs: OpenCV releases the lock, and a GPU is faster than one thread."""
    return ThreadPoolExecutor(thread_name_prefix="jpeg")


def _open_array(path: Path) -> np.ndarray:
    """An .npy file, mapped. Raises OSError or ValueError."""
    try:
        # np.load would accept an archive as well; a plain array is quicker to index than a memmap
        return np.asarray(open_memmap(path, mode="r"))
    except tokenize.TokenError as error:  # of a damaged header
        raise ValueError(f"{path}: {error}") from error


def _are_images(array: np.ndarray) -> bool:
    """Whether an array of 2 axes or more is (N, H, W, 3) uint8, none of them 0."""
    return array.shape[3:] == (3,) and array.dtype == np.uint8 and 0 not in array.shape


def _open_jpegs(path: Path, offsets: np.ndarray) -> np.ndarray:
    """The bytes of all JPEGs of a shard, mapped. Raises ValueError where offsets do not fit."""
    if offsets.dtype != np.int64 or len(offsets) < 2:
        raise ValueError(f"{path}: no list of where JPEGs begin")
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"{path}: no list of where JPEGs begin")
    place = path.with_suffix(".jpgs")
    jpegs = np.memmap(place, np.uint8, mode="r")
    if offsets[-1] != len(jpegs):
        raise ValueError(f"{place}: {len(jpegs)} bytes, not {offsets[-1]}")
    return jpegs


class Shard:
    """A shard opened for reading: its length, and pixels by index."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError where it is missing or damaged."""
        self.path = path
        self._array = _open_array(path)
        self.is_jpeg: bool = self._array.ndim == 1
        if self.is_jpeg:
            self._jpegs = _open_jpegs(path, self._array)
        elif not _are_images(self._array):
            raise ValueError(f"{path}: {self._array.dtype} {self._array.shape} are no images")

    def __len__(self) -> int:
        return len(self._array) - self.is_jpeg

    @cached_property
    def side(self) -> int:
        """The side of its images, pixels; 0 where they are not square."""
        shape = self.pixels(np.array([0])).shape if self.is_jpeg else self._array.shape
        height, width = shape[1:3]
        return int(height) if height == width else 0

    def pixels(self, index: np.ndarray) -> np.ndarray:
        """Images by index, (N, H, H, 3) uint8 RGB. Raises RefsrError where one is damaged."""
        if not self.is_jpeg:
            return self._array.take(index, 0)  # quicker than self._array[index]
        images = list(_decoders().map(self._decoded, index))
        if len({image.shape for image in images}) > 1:
            raise RefsrError(f"{self.path}: images of several sizes; run the stage `curate` again")
        return np.stack(images)

    def read_into(self, out: np.ndarray, places: np.ndarray, index: np.ndarray) -> None:
        """Write images by index to these places of an array, each copied once."""
        images = (
            self.pixels(index) if self.is_jpeg else map(self._array.__getitem__, index.tolist())
        )
        for place, image in zip(places.tolist(), images, strict=True):
            out[place] = image

    def _decoded(self, at: int) -> np.ndarray:
        data = self._jpegs[self._array[at] : self._array[at + 1]]
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
        except cv2.error as error:
            if out_of_memory(error):
                raise MemoryError("OpenCV: not enough memory to decode an image") from error
            image = None
        if image is None:
            path = self.path.with_suffix(".jpgs")
            raise RefsrError(f"{path}: image {at} is damaged; run the stage `curate` again")
        return np.asarray(image)
