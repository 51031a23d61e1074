"""What a manifest as large as VGGFace2's costs a training in memory.

A manifest of so many rows is written, then read by a process for each line: with all columns, as
trainings did, and with those that a training needs. Memory is that of the process (RSS), in MiB
above what it was before; `peak` is the most on the way.

    python benchmarks/manifest.py                  # 3.3 million rows; 1.5 GB of disk

The last line is one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from refsr.config import TrainRefsr
from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import place
from refsr.dataset.schema import MANIFEST
from refsr.io.paths import path_option
from refsr.training.pairs import Pairs

VIEWS, PER_SHARD, GROUP = 360, 4096, 2**17
SIDE = 8  # of the images of the one shard that is written


def main() -> None:
    """Measure, and print one JSON object."""
    options = parse_options()
    if options.folder is not None:
        print(json.dumps(_read(options.folder, needed=options.needed)))
        return
    with tempfile.TemporaryDirectory(prefix="refsr-manifest-") as name:
        write(Path(name), options.rows)
        results = {}
        for key, option in (("all_columns", "--all"), ("needed_columns", "--needed")):
            command = [sys.executable, __file__, "--folder", name, option]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[key] = json.loads(done.stdout)
            print(key, results[key], flush=True)
    print(json.dumps({"rows": options.rows} | results))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3_300_000, help="(default: 3,300,000)")
    parser.add_argument("--folder", type=path_option, help=argparse.SUPPRESS)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--needed", action="store_true", help=argparse.SUPPRESS)
    way.add_argument("--all", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def write(folder: Path, count: int) -> None:
    """A manifest with all columns, and a shard to read the size of images from."""
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(folder / "manifest.parquet", _rows(rng, 0, 1).schema) as writer:
        for start in range(0, count, GROUP):
            writer.write_table(_rows(rng, start, min(GROUP, count - start)))
    np.save(folder / "hr-00000.npy", np.zeros((1, SIDE, SIDE, 3), np.uint8))


def _rows(rng: np.random.Generator, start: int, count: int) -> pa.Table:
    rows = np.arange(start, start + count)
    identity = np.char.mod("n%06d", rows // VIEWS)
    shard, index = place(start + count, PER_SHARD)
    texts = {
        "identity": identity,
        "split": np.full(count, "train"),
        "role": np.where(rows % VIEWS == 0, "reference", "image"),
        "source": np.char.add(identity, np.char.mod("/%04d_01.jpg", rows % VIEWS)),
        "sha256": [rng.bytes(32).hex() for _ in range(count)],
        "sex": np.where(rows // VIEWS % 2, "f", "m"),
    }
    numbers = {"shard": shard[start:], "index": index[start:]}
    values = {
        name: texts.get(name, numbers.get(name, rng.integers(0, 64, count))) for name in MANIFEST
    }
    columns = {
        name: pa.array(values[name])
        if name in texts
        else pa.array(np.asarray(values[name]).astype(column.dtype))
        for name, column in MANIFEST.items()
    }
    return pa.table(columns)


def _read(folder: Path, *, needed: bool) -> dict[str, float]:
    """Memory of the manifest and of pairs with landmarks drawn from it, MiB."""
    before = _resident()
    curated = Curated(folder, columns=() if needed else None)
    opened = _resident()
    pairs = Pairs(curated, 0, 64, TrainRefsr(), landmarks=True)
    sizes = {"manifest": opened - before, "with_pairs": _resident() - before}
    del pairs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {key: round(size) for key, size in (sizes | {"peak": peak - before}).items()}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
