"""HR pixels as memory-mappable arrays: hr-00000.npy and so on, (N, H, H, 3) uint8 RGB."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap


def place(count: int, per_shard: int) -> tuple[np.ndarray, np.ndarray]:
    """(shard, index in it) of images 0 ... count-1."""
    rows = np.arange(count)
    return rows // per_shard, rows % per_shard


def write_shards(folder: Path, images: Iterator[np.ndarray], count: int, size: int, per_shard: int) -> None:
    """Write `count` images (size, size, 3) uint8 into `folder`, `per_shard` to a file; the last file holds the rest."""
    for number, start in enumerate(range(0, count, per_shard)):
        shape = (min(per_shard, count - start), size, size, 3)
        shard = open_memmap(folder / f"hr-{number:05d}.npy", mode="w+", dtype=np.uint8, shape=shape)
        for row in range(len(shard)):
            shard[row] = next(images)
        shard.flush()
