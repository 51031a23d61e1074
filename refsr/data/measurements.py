"""Every image measured once: read, measured and embedded, many at a time.

Only numbers, a thumbnail and an embedding are kept of an image; the pixels of the few that are chosen are read again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from tqdm import tqdm

from refsr.config import Curate
from refsr.data import quality
from refsr.data.measure import MEASURES, Look, measure_image
from refsr.data.vggface2 import BOX, LANDMARKS

Read = Callable[[str], bytes]  # a source's file of this name
Embed = Callable[[np.ndarray], np.ndarray]  # (N, 150, 150, 3) uint8 RGB -> (N, D) float32

CHUNK = 50  # images a thread takes at a time: cv2 frees the interpreter only within its own calls
_NO_THUMB = np.zeros((quality.THUMB, quality.THUMB), np.uint8)
_CORNER_EVERY = 6  # faces of which one gives a corner of its chip as well

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Measured:
    """A table of N images with arrays beside it; rows whose `reason` is not empty have no thumbnail or embedding."""

    table: pd.DataFrame
    thumbs: np.ndarray  # (N, 32, 32) uint8, of the whole images
    embeddings: np.ndarray  # (N, D) float32
    background: np.ndarray  # (M, D) float32, of corners of face chips, where there is no face

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            pd.concat([self.table, other.table], ignore_index=True),
            np.concatenate([self.thumbs, other.thumbs]),
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.background, other.background]),
        )


def measure(images: pd.DataFrame, read: Read, embed: Embed, params: Curate, workers: int) -> Measured:
    """The images (at least one; columns source, yaw, x ... h, p1x ... p5y) with what was measured, and `reason`,
    `value` and `detail` for those that cannot be used. The result does not depend on `workers`.
    """
    chunks = [images.iloc[at : at + CHUNK] for at in range(0, len(images), CHUNK)]
    facts: list[dict[str, Any]] = []
    thumbs, embeddings, background = [], [], []
    with tqdm(total=len(images), desc="curate: measure", unit="image") as bar:
        for part in in_threads(lambda chunk: _measure_chunk(chunk, read, params), chunks, workers):
            facts += [look.facts for look in part]
            thumbs += [_NO_THUMB if look.thumb is None else look.thumb for look in part]
            faces, corners = _embed_chunk([look.chip for look in part], embed)
            embeddings.append(faces)
            background.append(corners)
            bar.update(len(part))
    table = images.reset_index(drop=True)
    measured = pd.DataFrame(facts, columns=["reason", "value", "detail", *MEASURES]).astype({"dhash": "uint64"})
    table = pd.concat([table.drop(columns=[column for column in measured if column in table]), measured], axis=1)
    return Measured(table, np.stack(thumbs), np.concatenate(embeddings), np.concatenate(background))


def in_threads(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`function` of each item, in order, worked out in threads that run only a little ahead of the reader."""
    pending: deque[Any] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _measure_chunk(chunk: pd.DataFrame, read: Read, params: Curate) -> list[Look]:
    boxes = chunk[list(BOX)].to_numpy(np.float64)
    points = chunk[list(LANDMARKS)].to_numpy(np.float64).reshape(-1, 5, 2)
    rows = zip(chunk["source"], boxes, points, strict=True)
    return [measure_image(read(source), box, point, params) for source, box, point in rows]


def _embed_chunk(chips: list[np.ndarray | None], embed: Embed) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the faces, (N, D) with NaN where there is no chip, and of corners of some of them (M, D)."""
    blank = np.zeros((quality.CHIP, quality.CHIP, 3), np.uint8)
    found = [chip for chip in chips if chip is not None]
    corners = [quality.chip_corner(chip, row % 4) for row, chip in enumerate(found[::_CORNER_EVERY])]
    embedded = embed(np.stack([*(blank if chip is None else chip for chip in chips), *corners]))
    faces, background = np.split(embedded, [len(chips)])
    faces[[chip is None for chip in chips]] = np.nan
    return faces, background
