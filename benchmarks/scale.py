"""Throughput and memory of curation for raw sets of several sizes, extrapolated to VGGFace2.

Rendered faces are repeated under many identities in a tar.gz, each with its own light and noise, so
that no two are copies. Each size is curated in its own process, on one core, as `curate --raw
X.tar.gz` does: read into shards, extract features, filter, select, write. All identities are
extracted. Only the identity network is replaced, by the colour of a spot on the nose that differs
between identities; its cost is timed separately.

Throughput is images per second of processor time, which depends little on other work on the
machine. Memory is the peak of resident memory, mapped files included. The smaller sets are curated
before and after the largest, and their means count, so that slow periods of the machine affect all
sizes.

    python benchmarks/scale.py --most 100000

The last line is one JSON object; `flat_throughput` and `flat_memory` are the largest size over the
smallest, and `flat_memory_measuring` is that of reading and extraction alone, before any filter
runs.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from isal import igzip

from refsr.config import Curate, Synthesize
from refsr.curation import alignment
from refsr.curation.collector import FeatureCollector
from refsr.curation.curated_writer import write_curated
from refsr.curation.face_models import embed_faces, face_probability
from refsr.curation.splits import draw
from refsr.io.paths import path_option
from refsr.layouts.base import BOX, LANDMARKS
from refsr.layouts.tree import Tree
from refsr.parameter_types import MAX_PEOPLE
from refsr.synthetic.dataset import write_raw

SIZES = (1_000, 10_000, 100_000)
VIEWS = 100  # images of an identity
PARAMS = Curate(
    train_identities=MAX_PEOPLE,
    test_identities=MAX_PEOPLE,
    train_images={"min": 2, "max": 30},
    min_sharpness=0.05,
)
# Degrees: of heads turned further the nose, and the spot on it, is not where it is looked for.
FRONTAL = 15.0
SPOT = 0.14  # radius over the distance of the eyes
NETWORK_CHIPS, NETWORK_ROUNDS = 32, 5

VGGFACE2_IMAGES, VGGFACE2_BYTES = 3_310_000, 37.9e9 + 2.03e9
# Of as many people as RefSR-Face needs, and 15% more.
PROFILE_IMAGES = round(2 * 428 * 1.15 * 362.6)
MACHINES = {"1 core": (1, 1), "16 cores": (1, 16), "8 pods x 4 cores": (8, 4)}
ASSUMED = (
    "every core works as this machine's one does; reading the archive is one core's work, done by "
    "each pod; judging, selecting and writing is one core's work too, done once, by `merge`; it "
    "costs an image the same in any set, though finding copies costs more in a larger one; every "
    "image is shown to the networks; storage is no slower than one core's unpacking; the largest "
    "part of 8 is 1.15 of the mean"
)
LARGEST_PART = 1.15


def main() -> None:
    """Measure each size in its own process, extrapolate, and print one JSON object."""
    options = parse_options()
    if options.one:
        print(json.dumps(curate_once(options.one)))
        return
    sizes = [size for size in SIZES if size < options.most] + [options.most]
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="refsr-scale-") as folder:
        faces = base_faces(Path(folder))
        for size in sizes + sizes[-2::-1]:
            runs[size].append(run(Path(folder) / f"{size}.tar.gz", faces, size))
            print({key: round(value, 3) for key, value in runs[size][-1].items()}, flush=True)
    print(json.dumps(summary(_mean(runs[sizes[0]]), _mean(runs[sizes[-1]]), network_ms())))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--most", type=int, default=SIZES[-1], help="images of the largest set (default: 100000)"
    )
    parser.add_argument("--one", type=path_option, help=argparse.SUPPRESS)
    return parser.parse_args()


def run(
    raw: Path,
    faces: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    size: int,
) -> dict[str, float]:
    """The result of `curate_once` on `size` images, in its own process; the set is removed."""
    pack(raw, faces, size)
    command = [sys.executable, __file__, "--one", raw]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    raw.unlink()
    shutil.rmtree(raw.with_suffix(".out"))
    return dict(json.loads(done.stdout))


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([one[key] for one in runs])) for key in runs[0]}


def base_faces(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(image, box, landmarks) of rendered faces."""
    write_raw(
        Synthesize(train_identities=6, test_identities=4, views=8, defects=0, min_size=120),
        folder / "raw",
    )
    tree = Tree(folder / "raw")
    sources = tree.with_names(tree.images)["source"]
    names = tree.images["identity"].astype("str") + "/" + sources.str.extract(r"([^/]*)\.jpg$")[0]
    boxes = tree.metadata.boxes().loc[names, list(BOX)].to_numpy()
    points = tree.metadata.landmarks().loc[names, list(LANDMARKS)].to_numpy().reshape(-1, 5, 2)
    images = [
        cv2.imdecode(np.frombuffer(tree.source.read(row), np.uint8), cv2.IMREAD_COLOR)
        for row in tree.images["file"]
    ]
    seen = np.flatnonzero(np.abs(alignment.head_yaw(points)) <= FRONTAL)
    return [(images[row], boxes[row], points[row]) for row in seen]


def pack(path: Path, faces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], size: int) -> None:
    """A tar.gz with `size` images and their metadata, half of the identities in each split."""
    kinds = ("bb_train", "bb_test", "landmark_train", "landmark_test")
    lines: dict[str, list[str]] = {kind: [] for kind in kinds}
    with (
        igzip.open(path, "wb", compresslevel=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for number in range(size):
            rng = np.random.default_rng(number)
            image, box, points = faces[rng.integers(len(faces))]
            identity, split = f"n{number // VIEWS + 1:06d}", ("train", "test")[number // VIEWS % 2]
            name = f"{identity}/{number % VIEWS + 1:04d}_01"
            _add(archive, f"{split}/{name}.jpg", _own(image, points, _colour(number // VIEWS), rng))
            lines[f"bb_{split}"].append(_csv_line(name, box))
            lines[f"landmark_{split}"].append(_csv_line(name, points.ravel()))
        for kind, rows in lines.items():
            text = "\n".join(["NAME_ID,X", *rows, ""])
            _add(archive, f"bb_landmark/loose_{kind}.csv", text.encode())


def _csv_line(name: str, values: np.ndarray) -> str:
    return f'"{name}",' + ",".join(f"{value:g}" for value in values)


def _own(
    image: np.ndarray, points: np.ndarray, colour: tuple[int, ...], rng: np.random.Generator
) -> bytes:
    """The JPEG of a face under a light of its own, with the identity's spot on its nose."""
    height, width = image.shape[:2]
    light = cv2.resize(
        rng.uniform(0.35, 1.3, (7, 6)).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    noise = rng.integers(0, 24, (height, width, 1), np.uint8)
    lit = cv2.add(
        np.clip(image * light[..., None], 0, 255).astype(np.uint8),
        np.broadcast_to(noise, image.shape).copy(),
    )
    radius = max(2, round(SPOT * float(np.linalg.norm(points[1] - points[0]))))
    cv2.circle(lit, tuple(map(round, points[2].tolist())), radius, colour, -1)
    return bytes(cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])


def _colour(identity: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([7, identity]).integers(0, 256, 3).tolist())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def embed_spot(chips: np.ndarray) -> np.ndarray:
    """Stands for the identity network: (N, 150, 150, 3) -> (N, 128) by the colour of the nose."""
    nose = np.median(chips[:, 75:80, 72:77].reshape(len(chips), -1, 3), axis=1) / 255
    rng = np.random.default_rng(0)
    return (np.cos(nose @ rng.normal(0, 6, (3, 128)) + rng.uniform(0, 6.3, 128)) / 10).astype(
        np.float32
    )


def curate_once(raw: Path) -> dict[str, float]:
    """Seconds of processor time of each part of a curation, images per second, and peak memory."""
    marks = [time.process_time()]
    began = time.perf_counter()
    out = raw.with_suffix(".out")
    images = measure_all(raw, out, marks)
    measured_mb = _peak_mb()
    # All features are extracted by now.
    metrics = write_curated(PARAMS, raw, out, embed_spot, workers=1)
    marks.append(time.process_time())
    read, measure, rest = np.diff(marks).tolist()
    return {
        "images": images,
        "kept": sum(metrics[key] for key in metrics if key.startswith("images.")),
        "megabytes": raw.stat().st_size / 1e6,
        "read_s": read,
        "measure_s": measure,
        "judge_and_write_s": rest,
        "wall_s": time.perf_counter() - began,
        "images_per_second": images / (read + measure + rest),
        "peak_measured_mb": measured_mb,
        "peak_mb": _peak_mb(),
    }


def measure_all(raw: Path, out: Path, marks: list[float]) -> int:
    """The number of images; `marks` receives the time after reading and after extraction."""
    collector = FeatureCollector(raw, out, PARAMS, embed_spot, workers=1)
    marks.append(time.process_time())
    order = draw(collector.tree.images, PARAMS)
    collector.collect(sorted(key for keys in order.values() for key in keys))
    marks.append(time.process_time())
    return len(collector.tree.images)


def _peak_mb() -> float:
    # Not ru_maxrss, which starts at the size of the parent process.
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def network_ms() -> float:
    """Milliseconds of processor time that both networks take for a chip, on one core.

    They are the detector's and dlib's.
    """
    torch.set_num_threads(1)
    chips = np.random.default_rng(0).integers(0, 256, (NETWORK_CHIPS, 150, 150, 3), np.uint8)
    face_probability(chips), embed_faces(chips)
    spent = []
    for _ in range(NETWORK_ROUNDS):
        start = time.process_time()
        face_probability(chips), embed_faces(chips)
        spent.append(time.process_time() - start)
    return 1000 * float(np.median(spent)) / NETWORK_CHIPS


def summary(least: dict[str, float], most: dict[str, float], network: float) -> dict[str, object]:
    """The ratios that are promised, hours for VGGFace2 by machine; prints the extrapolation."""
    growth = (most["peak_mb"] - least["peak_mb"]) * 2**20 / max(1, most["images"] - least["images"])
    print(f"assumed: {ASSUMED}")
    hours: dict[str, float] = {}
    for set_name, images in (
        ("all of VGGFace2", VGGFACE2_IMAGES),
        ("RefSR-Face's people", PROFILE_IMAGES),
    ):
        for machine, (pods, cores) in MACHINES.items():
            needed = round(_hours(most, network, images, pods, cores), 2)
            hours[f"{set_name}, {machine}"] = needed
            print(f"{set_name}, {images:,} images measured, {machine}: {needed} h")
    return {
        "images": int(most["images"]),
        "images_per_second": round(most["images_per_second"], 1),
        "flat_throughput": round(most["images_per_second"] / least["images_per_second"], 3),
        "flat_memory": round(most["peak_mb"] / least["peak_mb"], 3),
        "flat_memory_measuring": round(most["peak_measured_mb"] / least["peak_measured_mb"], 3),
        "peak_mb": round(most["peak_mb"], 1),
        "bytes_per_image": round(growth),
        "identity_ms_per_chip": round(network, 3),
        "hours": hours,
    }


def _hours(most: dict[str, float], network: float, images: int, pods: int, cores: int) -> float:
    read = VGGFACE2_BYTES / 1e6 * most["read_s"] / most["megabytes"]
    measure = images * (most["measure_s"] / most["images"] + network / 1000)
    rest = images * most["judge_and_write_s"] / most["images"]
    return (read + measure / (pods * cores) * (LARGEST_PART if pods > 1 else 1) + rest) / 3600


if __name__ == "__main__":
    main()
