"""The cost of curation without box files, per image and core, and of finding the faces in it.

    python benchmarks/detection.py --raw DIR
    python benchmarks/detection.py

The images are those of some people of a set of the layout `people`; without --raw they are
rendered. Processor time of one core: `detect_ms` finds the faces of a decoded image, `plain_ms`
finds them one size and one cut at a time, as facenet-pytorch does; the two take turns. Both seek
faces from `min_box` pixels. `same_faces` is the share of images whose main faces overlap by 0.9 of
their union (or where neither sees one). `curate_ms` is everything: decoding, detection, cropping,
both face networks. Prints one JSON object.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import photos
import plain_mtcnn
from scale import VGGFACE2_IMAGES

from refsr.config import Curate
from refsr.curation import decoding, extraction, pipeline
from refsr.curation.alignment import CHIP
from refsr.curation.detection import by_size_and_place
from refsr.curation.extraction import Job
from refsr.curation.face_models import DETECTOR, embed_faces
from refsr.curation.workers import prepare_process
from refsr.layouts.tree import Tree
from refsr.models.pretrained.mtcnn import Detect, Faces, face_detector

LEAST_OVERLAP = 0.9
PARAMS = Curate()
BLANK = np.zeros((1, CHIP, CHIP, 3), np.uint8)


def main() -> None:
    """Measure, and print one JSON object."""
    options = _parse_options()
    prepare_process()
    with tempfile.TemporaryDirectory(prefix="refsr-detection-") as scratch:
        raw = options.raw or photos.rendered(Path(scratch) / "rendered", options.people)
        copy = Path(scratch) / "raw"
        some = _some(raw, options.people, options.seed)
        for folder in some:
            shutil.copytree(folder, copy / folder.name)
        result = detected(copy) | curated(copy)
    hours = result["curate_ms"] * VGGFACE2_IMAGES / 3.6e6
    print(json.dumps(result | {"hours_all_of_vggface2_1_core": round(hours, 1)}))


def detected(raw: Path) -> dict[str, float]:
    """Milliseconds an image of both detectors, and how often they see the same face."""
    networks, quick = plain_mtcnn.networks(), face_detector()
    contestants: list[Detect] = [
        lambda image, smallest: plain_mtcnn.detect(networks, image, smallest),
        quick,
    ]
    spent, same = np.zeros(2), []
    files = sorted(path for path in raw.rglob("*") if path.is_file())
    for path in files:
        image, _ = decoding.decode(path.read_bytes(), 1)
        seen = []
        for at, find in enumerate(contestants):
            start = time.process_time()
            seen.append(find(image, PARAMS.min_box))
            spent[at] += time.process_time() - start
        same.append(is_same(image, *seen))
    plain, ours = (1000 * spent / len(files)).tolist()
    return {
        "images": len(files),
        "plain_ms": round(plain, 2),
        "detect_ms": round(ours, 2),
        "speedup": round(plain / ours, 2),
        "same_faces": round(float(np.mean(same)), 4),
    }


def is_same(image: np.ndarray, faces: Faces, others: Faces) -> bool:
    """Whether the main faces of an image overlap, or there are none."""
    if not len(faces.boxes) or not len(others.boxes):
        return len(faces.boxes) == len(others.boxes)
    height, width = image.shape[:2]
    a, b = (each.boxes[by_size_and_place(each.boxes, width, height)[0]] for each in (faces, others))
    corner, end = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = np.maximum(0, end - corner).prod()
    return bool(common >= LEAST_OVERLAP * (a[2:].prod() + b[2:].prod() - common))


def curated(raw: Path) -> dict[str, float]:
    """Milliseconds an image of all that is done for it."""
    embed_faces(BLANK)  # the networks are read when they are first used
    DETECTOR.probability(BLANK)
    DETECTOR.find(BLANK[0], PARAMS.min_box)
    tree = Tree(raw)
    table = pipeline.describe(tree, tree.images)
    start = time.process_time()
    for _, images in table.groupby("identity"):
        extents = tree.source.extents(images["file"].to_numpy())
        job = Job(images.drop(columns=["root", "file"]), extents, boxed=False)
        extraction.features_and_crops(job, embed_faces, PARAMS, DETECTOR)
    return {"curate_ms": round(1000 * (time.process_time() - start) / len(table), 2)}


def _some(raw: Path, people: int, seed: int) -> list[Path]:
    folders = sorted({path.parent for path in raw.rglob("*") if path.is_file()})
    chosen = np.random.default_rng(seed).permutation(len(folders))[:people]
    return [folders[at] for at in chosen]


def _parse_options() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--raw", type=Path, help="a folder per person; without it, rendered")
    parser.add_argument("--people", type=int, default=40, help="how many are measured")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
