"""What curation costs an image, against decoding it and nothing else, and against the usual way with Pillow.

Rendered JPEGs, once of VGGFace2's usual size and once (`_large`) of some 0.13 megapixels, held in memory; one core,
processor time; rounds of all contestants in turn, of which the median counts. No image is left out on the way, so that
everybody does all of the work.

- `decode`: cv2.imdecode of the whole image, nothing else. The ceiling.
- `measure`: refsr.data.measurements: every check, the crop, sharpness, hash, thumbnail. `share_of_decode` is about it.
- `with_chips`: the same and the face chips, which is what the identity filter cuts from each image (`chip_ms`). The
  rest of that filter is its network, timed by itself (`identity_ms_per_image`), the same whoever crops.
- `ours`: with chips, and all that follows where each image is kept: crop and facts put on the disk, and read from there
  into shards. Without the network and the judging.
- `naive`: Pillow and imagehash: decode, crop, resize, Laplacian, difference hash, and a PNG. `speedup_over_naive` is
  its time over that of `ours`.

`two_workers` is the wall time of `measure` with one process over that with two, once they run; `two_decoders` is that
of decoding alone by threads: where it is not about 2, two cores were not free, and neither number means anything.

    python benchmarks/curation.py
"""

import hashlib
import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import cv2
import imagehash
import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageFilter

from refsr.config import Curate, Synthesize
from refsr.data import curation, quality
from refsr.data.measurements import Job, Measured, measure
from refsr.data.shards import write_shards
from refsr.data.store import Store
from refsr.data.vggface2 import BOX, Tree
from refsr.steps.curate import embed_faces
from refsr.synthetic.dataset import write_raw

ROUNDS = 7
SETS = {
    "": Synthesize(train_identities=20, test_identities=10, views=8, defects=0),
    "_large": Synthesize(train_identities=8, test_identities=4, views=8, defects=0, min_size=360),
}
# No limit is in the way of any image.
PARAMS = Curate(min_box=1, max_yaw=90, min_sharpness=0, train_images={"min": 2, "max": 10**6})
IDENTITY = 48  # images measured as those of one identity; VGGFace2 has 362
COPIES = 6  # of the set, measured again and again for `two_workers`, so that no worker waits for the last chunk
CHIPS = 16  # of which the identity network is timed
CHUNK = 50  # files a thread takes at a time
NO_CHIP = np.zeros((quality.CHIP, quality.CHIP, 3), np.uint8)


def main() -> None:
    """Measure, and print one JSON object."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, float] = {}
    for suffix, params in SETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            raw = Path(scratch) / "raw"
            write_raw(params, raw)
            result |= {f"{key}{suffix}": round(value, 3) for key, value in compare(raw, Path(scratch)).items()}
    print(json.dumps(result))


def compare(raw: Path, scratch: Path) -> dict[str, float]:
    """Milliseconds an image of each contestant, and the ratios that are promised."""
    tree = Tree(raw)
    images = curation.describe(tree, tree.images)
    parts = np.array_split(np.arange(len(images)), max(1, len(images) // IDENTITY))
    jobs = [
        Job(part.drop(columns=["root", "file"]), tree.source.extents(part["file"].to_numpy()), boxed=True)
        for part in (images.iloc[rows] for rows in parts)
    ]
    files = {source: (raw / source).read_bytes() for source in images["source"]}
    chips: list[np.ndarray] = []

    def look() -> list[Measured]:
        return list(measure(jobs, _no_embedding(chips), PARAMS, 1))

    def without_chips() -> None:
        with mock.patch.object(quality, "face_chip", return_value=NO_CHIP):
            look()

    def decode(workers: int = 1, copies: int = 1) -> None:
        every = list(files.values()) * copies
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_decode, [every[at : at + CHUNK] for at in range(0, len(every), CHUNK)]))

    table = pd.concat([pd.DataFrame(one.columns) for one in look()], ignore_index=True)
    assert (table["reason"] == "").all(), "no image may be left out here: all are to do all of the work"
    boxes = dict(zip(table["source"], table[list(BOX)].to_numpy(), strict=True))
    contestants: dict[str, Callable[[], object]] = {
        "naive": lambda: [_naive(files[source], box, scratch / "naive.png") for source, box in boxes.items()],
        "ours": lambda: _keep_and_write(measure(jobs, _no_embedding(chips), PARAMS, 1), scratch),
        "measure": without_chips,
        "with_chips": look,
        "decode": decode,
    }
    spent = _rounds(contestants, time.process_time)
    in_turns: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(1, COPIES),
        "decode by two": lambda: decode(2, COPIES),
    }
    wall = _rounds(in_turns, time.perf_counter)
    one, two = (float(np.median([_steady(jobs * COPIES, workers) for _ in range(3)])) for workers in (1, 2))
    faces = np.stack(chips[:CHIPS])
    result = {f"{name}_ms": 1000 * seconds / len(files) for name, seconds in spent.items()}
    return result | {
        "images": len(files),
        "megapixels": float((table["width"] * table["height"]).mean()) / 1e6,
        "identity_ms_per_image": 1000 * _rounds({"": lambda: embed_faces(faces)}, time.process_time)[""] / len(faces),
        "chip_ms": 1000 * (spent["with_chips"] - spent["measure"]) / len(files),
        "share_of_decode_with_writing": spent["decode"] / spent["ours"],
        "speedup_over_naive": spent["naive"] / spent["ours"],
        "share_of_decode": spent["decode"] / spent["measure"],
        "two_workers": one / two,
        "two_decoders": wall["decode"] / wall["decode by two"],
    }


def _decode(files: Sequence[bytes]) -> None:
    for data in files:
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


def _rounds(contestants: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """The median seconds of each, taken in turns so that a slow moment is everybody's."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def _steady(jobs: list[Job], workers: int) -> float:
    """Wall seconds an image takes once the workers run: from the first identity measured to the last."""
    results = measure(jobs, _nothing, PARAMS, workers)
    next(results)
    start, images = time.perf_counter(), 0
    for measured in results:
        images += len(measured)
    return (time.perf_counter() - start) / images


def _nothing(batch: np.ndarray) -> np.ndarray:
    return np.zeros((len(batch), 1), np.float32)


def _no_embedding(chips: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Stands where the identity network does; keeps the chips of the first call for its own timing."""

    def embed(batch: np.ndarray) -> np.ndarray:
        if not chips:
            chips.extend(batch)
        return np.zeros((len(batch), 1), np.float32)

    return embed


def _keep_and_write(measured: Iterable[Measured], scratch: Path) -> None:
    shutil.rmtree(scratch / "work", ignore_errors=True)
    store = Store(scratch / "work")
    identities = []
    for one in measured:
        store.add(one)
        identities.append(str(one.columns["identity"][0]))
    store.flush()
    table = store.gather(identities).table
    crops = store.crops(table, PARAMS.hr_size)
    write_shards(scratch, crops, len(table), PARAMS.hr_size, PARAMS.shard_images)


def _naive(data: bytes, box: np.ndarray, output: Path) -> tuple[str, float, str]:
    """(SHA-256, sharpness, difference hash) of an image whose crop is written as a PNG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    x, y, w, h = box
    half = PARAMS.crop_factor * max(w, h) / 2
    centre = (x + w / 2, y + h / 2)
    edges = tuple(round(value) for value in (*(c - half for c in centre), *(c + half for c in centre)))
    crop = image.crop(edges).resize((PARAMS.hr_size, PARAMS.hr_size), Image.Resampling.LANCZOS)
    grey = crop.convert("L")
    edges_seen = grey.filter(ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128))
    crop.save(output)
    return (
        hashlib.sha256(data).hexdigest(),
        float(np.asarray(edges_seen, np.float32).var()),
        str(imagehash.dhash(image)),
    )


if __name__ == "__main__":
    main()
