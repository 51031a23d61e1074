"""The cost of curation per image, compared with decoding alone and with the usual way in Pillow.

Rendered JPEGs: some of about 0.13 megapixels, which have targets, and some (`_small`) of VGGFace2's
usual size, where decoding is a small part of the work. One core, processor time; all contestants
run in turns, and the median of the rounds counts. No image is rejected, so that all contestants do
all of the work.

- `decode`: cv2.imdecode of the whole image, nothing else. The ceiling.
- `measure`: `refsr.curation.extraction.features_and_crops`: the file read, every check, the crop,
  sharpness, hash, thumbnail. `share_of_decode` is about it.
- `ours`: the same, and all later work on images that are kept: crops and features are written to
  the disk, and read from there into shards. Without filters.
- `naive`: Pillow and imagehash: decode, crop, resize, Laplacian, difference hash, and a PNG.
  `speedup_over_naive` is its time over that of `ours`.

The identity filter, which `naive` lacks, is timed separately: `chip_ms` is the time to cut the face
chips for its networks, `identity_ms_per_image` the time of these networks. `speedup_with_chips`
includes the former.

`two_workers` is the wall time of extraction, crops written to the disk, with one process over that
with two, once both run; `two_decoders`, in turns with it, the same of decoding alone. If that is
not about 2, two cores were not free, and neither number is valid.

    python benchmarks/curation.py
"""

import argparse
import contextlib
import hashlib
import io
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args
from unittest import mock

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from refsr.config import Curate, Synthesize
from refsr.curation import alignment, decoding, extraction, pipeline
from refsr.curation.crash_journal import Journal
from refsr.curation.extraction import Job
from refsr.curation.face_models import embed_faces, face_probability
from refsr.curation.feature_store import Store
from refsr.curation.workers import in_processes, prepare_process
from refsr.dataset.pixel_shards import write_shards
from refsr.io.files import Extent
from refsr.layouts.base import BOX
from refsr.layouts.tree import Tree
from refsr.synthetic.dataset import write_raw

SETS = {
    "": Synthesize(train_identities=8, test_identities=4, views=8, defects=0, min_size=360),
    "_small": Synthesize(train_identities=20, test_identities=10, views=8, defects=0),
}
# No limit is in the way of any image.
PARAMS = Curate(min_box=1, max_yaw=90, min_sharpness=0, train_images={"min": 2, "max": 10**6})
KINDS = get_args(Curate.model_fields["crop"].annotation)
IDENTITY = 362  # images measured as those of one identity: as many as one of VGGFace2 has
SOME = 724  # images, about, that are measured in a round
AGAIN = 4  # times that all are decoded in a round
# Images, about, that `ours` keeps and writes in a round: twice what the store writes at a time.
CHUNK = 2048
# Images, about, of identities of so many; the second half is timed for `two_workers`.
STEADY, FEW = 9000, 181
# After so many identities a name comes again, and with it the file its crops are written into.
NAMES = 16
CHIPS = 16  # of which the identity network is timed


class Faces(NamedTuple):
    """The images that all contestants work on."""

    table: pd.DataFrame  # as a job has it
    extents: list[Extent]
    files: list[bytes]
    boxes: np.ndarray  # (N, 4)
    megapixels: float
    params: Curate

    def jobs(self, images: int, each: int = IDENTITY) -> list[Job]:
        """As many images, about: these again and again, as those of identities of `each`."""
        return [
            self._job(at, np.arange(at * each, (at + 1) * each))
            for at in range(max(1, round(images / each)))
        ]

    def _job(self, number: int, rows: np.ndarray) -> Job:
        rows = rows % len(self.files)
        identity = str(number % NAMES)
        return Job(
            self.table.iloc[rows].assign(identity=identity),
            [self.extents[row] for row in rows],
            boxed=True,
        )


def main() -> None:
    """Measure, and print one JSON object."""
    options = _parse_options()
    curate = PARAMS.model_copy(update={"crop": options.crop})
    prepare_process()
    result: dict[str, float] = {}
    for suffix, params in SETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            write_raw(params, Path(scratch) / "raw")
            faces = load(Path(scratch) / "raw", curate)
            numbers = one_core(faces, Path(scratch), options.rounds)
            if not options.one_core:
                numbers |= two_cores(faces, Path(scratch))
            result |= {f"{key}{suffix}": round(value, 3) for key, value in numbers.items()}
    print(json.dumps(result))


def _parse_options() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=15, help="turns of which the median counts")
    parser.add_argument("--crop", choices=KINDS, default=PARAMS.crop, help="curate.crop")
    parser.add_argument(
        "--one-core",
        action="store_true",
        help="without two_workers and two_decoders",
    )
    return parser.parse_args()


def load(raw: Path, params: Curate) -> Faces:
    """The raw set as measuring is given it, and as bytes and boxes for the others."""
    tree = Tree(raw)
    images = pipeline.describe(tree, tree.images)
    extents = tree.source.extents(images["file"].to_numpy())
    files = [(raw / source).read_bytes() for source in images["source"]]
    boxes = images[list(BOX)].to_numpy()
    pixels = np.mean([math.prod(decoding.image_size(data)) for data in files])
    table = images.drop(columns=["root", "file"])
    return Faces(table, extents, files, boxes, float(pixels) / 1e6, params)


def one_core(faces: Faces, scratch: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time an image of each contestant, and the ratios promised."""
    chips, jobs, many = _chips(faces), faces.jobs(SOME), faces.jobs(CHUNK)
    few = list(zip(faces.files, faces.boxes, strict=True))
    contestants: dict[str, tuple[int, Callable[[], object]]] = {
        "naive": (len(few), lambda: [_naive(*each, scratch / "naive.png") for each in few]),
        "ours": (
            IDENTITY * len(many),
            _no_chips()(lambda: _keep_and_write(many, scratch, faces.params)),
        ),
        "with_chips": (IDENTITY * len(jobs), lambda: _look_at(jobs, faces.params)),
        "measure": (IDENTITY * len(jobs), _no_chips()(lambda: _look_at(jobs, faces.params))),
        "decode": (len(few) * AGAIN, lambda: _decode(faces.files * AGAIN)),
        "identity": (len(chips), lambda: (face_probability(chips), embed_faces(chips))),
    }
    spent = _rounds({name: run for name, (_, run) in contestants.items()}, rounds)
    cost = {name: 1000 * spent[name] / images for name, (images, _) in contestants.items()}
    chip = cost["with_chips"] - cost["measure"]
    return {f"{name}_ms": cost[name] for name in ("naive", "ours", "measure", "decode")} | {
        "images": len(few),
        "megapixels": faces.megapixels,
        "chip_ms": chip,
        "identity_ms_per_image": cost["identity"],
        "speedup_over_naive": cost["naive"] / cost["ours"],
        "speedup_with_chips": cost["naive"] / (cost["ours"] + chip),
        "share_of_decode": cost["decode"] / cost["measure"],
        "share_of_decode_with_writing": cost["decode"] / cost["ours"],
    }


def two_cores(faces: Faces, scratch: Path) -> dict[str, float]:
    """How much quicker two processes are than one, in wall time, at measuring and at decoding."""
    jobs, files = faces.jobs(STEADY, FEW), [faces.files] * (STEADY // len(faces.files))
    seconds: dict[tuple[str, int], list[float]] = {}
    journal = Journal(scratch)
    for _ in range(3):
        for workers in (1, 2):
            seconds.setdefault(("workers", workers), []).append(
                _steady(extraction.extract(jobs, scratch, _no_embedding, faces.params, workers))
            )
            seconds.setdefault(("decoders", workers), []).append(
                _steady(in_processes(_decode, files, workers, journal))
            )
    middle = {key: float(np.median(values)) for key, values in seconds.items()}
    return {f"two_{what}": middle[what, 1] / middle[what, 2] for what in ("workers", "decoders")}


def _rounds(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median processor time of each, in turns, so that a slow moment is everybody's."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def _steady(results: Iterator[object]) -> float:
    """Wall seconds a result takes in their second half, where all workers have long started."""
    times = [time.perf_counter() for _ in results]
    half = len(times) // 2
    return (times[-1] - times[half]) / (len(times) - 1 - half)


def _decode(files: Sequence[bytes]) -> None:
    for data in files:
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


def _no_embedding(batch: np.ndarray) -> np.ndarray:
    return np.zeros((len(batch), 1), np.float32)


def _chips(faces: Faces) -> np.ndarray:
    """Some chips, as they are given to the identity network."""
    seen: list[np.ndarray] = []

    def keep(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return _no_embedding(batch)

    for job in faces.jobs(IDENTITY):
        looked, _ = extraction.features_and_crops(job, keep, faces.params)
        assert (looked.columns["reason"] == "").all(), (
            "no image may be left out here: all are to do all of the work"
        )
    return seen[0][:CHIPS]


def _look_at(jobs: list[Job], params: Curate) -> None:
    """By this process; the network itself is left out in any case."""
    for job in jobs:
        extraction.features_and_crops(job, _no_embedding, params)


@contextlib.contextmanager
def _no_chips() -> Iterator[None]:
    with (
        mock.patch.object(alignment, "face_chip", lambda *_: None),
        mock.patch.object(
            extraction,
            "_embed",
            lambda features, _: np.zeros((len(features.thumbs), 1), np.float32),
        ),
    ):
        yield


def _keep_and_write(jobs: list[Job], scratch: Path, params: Curate) -> None:
    shutil.rmtree(scratch / "work", ignore_errors=True)
    store = Store(scratch / "work")
    for one in extraction.extract(jobs, store.folder, _no_embedding, params, 1):
        store.add(one)
    store.flush()
    table = store.gather([str(job.images["identity"].iloc[0]) for job in jobs]).table
    side = params.hr_size
    crops = store.crops(table, side)
    write_shards(scratch, crops, len(table), side, params.shard_images)


def _naive(data: bytes, box: np.ndarray, output: Path) -> tuple[str, float, str]:
    """(SHA-256, sharpness, difference hash) of an image whose crop is written as a PNG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    x, y, w, h = box
    half = PARAMS.crop_factor * max(w, h) / 2
    centre = (x + w / 2, y + h / 2)
    edges = tuple(
        round(value) for value in (*(c - half for c in centre), *(c + half for c in centre))
    )
    crop = image.crop(edges).resize((PARAMS.hr_size, PARAMS.hr_size), Image.Resampling.LANCZOS)
    grey = crop.convert("L")
    edges_seen = grey.filter(
        ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128),
    )
    crop.save(output)
    return (
        hashlib.sha256(data).hexdigest(),
        float(np.asarray(edges_seen, np.float32).var()),
        str(imagehash.dhash(image)),
    )


if __name__ == "__main__":
    main()
