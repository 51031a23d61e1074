"""How quickly training images are read: as a training does, from JPEG files with PIL, and copied.

Images per second of the processor, interleaved, medians; every row gives uint8 batches in memory.

| ratio | what it is |
|---|---|
| over_pil | pixel shards over a PyTorch DataLoader that decodes JPEG files with PIL |
| share_of_memcpy | pixel shards over a copy of as many bytes |
| spread_share_of_memcpy | the same where each image of a batch lies in a shard of its own |

    OMP_NUM_THREADS=1 python benchmarks/loader.py

The last line is one JSON object.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import place, write_shards
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.training.pairs import Pairs

IDENTITIES, VIEWS = 64, 16
TOTAL = IDENTITIES * VIEWS


def main() -> None:
    """Measure, and print one JSON object."""
    options = parse_options()
    print(json.dumps(loading(options.size, options.batch_size, options.rounds)))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=128, help="side in pixels (default: 128)")
    parser.add_argument("--batch-size", type=int, default=64, help="(default: 64)")
    parser.add_argument("--rounds", type=int, default=15, help="(default: 15)")
    return parser.parse_args()


def clouds(folder: Path, size: int, kind: str, per_shard: int = 4096) -> Curated:
    """A curated set of clouds for training, its pixels written as `kind` of shards."""
    folder.mkdir(parents=True)
    write_shards(folder, iter(pictures(size)), TOTAL, size, per_shard, kind)
    shard, index = place(TOTAL, per_shard)
    identity = [f"n{row // VIEWS:06d}" for row in range(TOTAL)]
    columns = {"identity": identity, "split": "train", "role": "image"}
    table = pd.DataFrame(columns | {"shard": shard, "index": index})
    rng = np.random.default_rng(1)
    table[list(CROP_LANDMARKS)] = size * rng.uniform(0.2, 0.8, (TOTAL, len(CROP_LANDMARKS)))
    table.to_parquet(folder / "manifest.parquet")
    return Curated(folder, columns=())


def pictures(size: int) -> list[np.ndarray]:
    """(size, size, 3) uint8 each."""
    rng = np.random.default_rng(0)
    drops = (rng.integers(0, 256, (size // 4, size // 4, 3), np.uint8) for _ in range(TOTAL))
    return [cv2.resize(some, (size, size), interpolation=cv2.INTER_CUBIC) for some in drops]


class Files(Dataset[torch.Tensor]):
    """JPEG files, decoded by PIL: what a training set usually is."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        self.paths = [folder / f"{number:05d}.jpg" for number in range(TOTAL)]
        for path, picture in zip(self.paths, pictures(size), strict=True):
            Image.fromarray(picture).save(path, quality=95)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as image:
            return torch.from_numpy(np.array(image.convert("RGB")))


def loading(size: int, batch_size: int, rounds: int) -> dict[str, float]:
    """Images per second of the processor by way of reading, and the ratios."""
    with tempfile.TemporaryDirectory(prefix="refsr-loader-") as name:
        folder = Path(name)
        ways = {
            "pil": _pil(folder, size, batch_size),
            "shards": _shards(clouds(folder / "one", size, "raw"), batch_size),
            "spread": _shards(clouds(folder / "many", size, "raw", VIEWS), batch_size),
            "memcpy": _memcpy(size, batch_size),
        }
        rates = {key: batch_size / value for key, value in medians(ways, rounds).items()}
    ratios = {
        "over_pil": rates["shards"] / rates["pil"],
        "share_of_memcpy": rates["shards"] / rates["memcpy"],
        "spread_share_of_memcpy": rates["spread"] / rates["memcpy"],
    }
    return {key: round(rate) for key, rate in rates.items()} | {
        key: round(ratio, 2) for key, ratio in ratios.items()
    }


def _pil(folder: Path, size: int, batch_size: int) -> Callable[[], object]:
    files = Files(folder / "jpeg", size)
    batches = iter(DataLoader(files, batch_size, shuffle=True, drop_last=True))

    def read() -> object:
        nonlocal batches
        try:
            return next(batches)
        except StopIteration:
            batches = iter(DataLoader(files, batch_size, shuffle=True, drop_last=True))
            return next(batches)

    return read


def _shards(curated: Curated, batch_size: int) -> Callable[[], object]:
    curated.pixels(np.arange(TOTAL))  # as from the second epoch on
    pairs, steps = Pairs(curated, 0, batch_size), count()
    return lambda: pairs.draw(next(steps))


def _memcpy(size: int, batch_size: int) -> Callable[[], object]:
    source = np.stack(pictures(size))
    rng = np.random.default_rng(0)

    def copy() -> object:
        start = int(rng.integers(0, TOTAL - batch_size))
        return source[start : start + batch_size].copy()

    return copy


def medians(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Seconds of each way, each once in each round.

    In a random order, since a way finds the caches and the heap as the one before left them.
    """
    seconds: dict[str, list[float]] = {key: [] for key in ways}
    rng = random.Random(0)
    for turn in range(rounds + 2):
        for key in rng.sample(list(ways), len(ways)):
            start = clock()
            ways[key]()
            if turn >= 2:
                seconds[key].append(clock() - start)
    return {key: statistics.median(values) for key, values in seconds.items()}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    main()
