"""How much disk JPEG shards save: rendered 128x128 faces, written as both kinds of shards.

Each of PEOPLE people is rendered VIEWS times, saved as a JPEG of the raw set, and cropped as
`curate` does. `jpeg_share` is the bytes of JPEG shards over those of raw shards.

    python benchmarks/shards.py
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from refsr.config import Synthesize
from refsr.curation.alignment import square_crop
from refsr.dataset.pixel_shards import write_shards
from refsr.synthetic.defects import decode, encode
from refsr.synthetic.people import view
from refsr.synthetic.plan import Folder, plan
from refsr.synthetic.render import model, render

PEOPLE, VIEWS, SIZE, CROP_FACTOR = 20, 8, 128, 1.3


def main() -> None:
    """Measure, and print one JSON object."""
    raw = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=raw).parse_args()
    people = {"train_identities": PEOPLE - 1, "test_identities": 1, "views": VIEWS}
    folders = plan(Synthesize(**people, min_size=200, max_size=400, defects=0))
    crops = [crop for folder in tqdm(folders, unit="person") for crop in _crops(folder)]
    size = {kind: _bytes(crops, kind) for kind in ("raw", "jpeg")}
    share = round(size["jpeg"] / size["raw"], 3)
    print(json.dumps({"images": len(crops)} | size | {"jpeg_share": share}))


def _crops(folder: Folder) -> Iterator[np.ndarray]:
    built = model(folder.person)
    rng = np.random.default_rng(folder.person)
    for shot in folder.shots:
        picture = render(built, view(shot.view, built.who, shot.frontal), shot.frame)
        image = decode(encode(picture.image, shot.quality, shot.kind, rng))
        yield square_crop(image, picture.box, CROP_FACTOR, SIZE)


def _bytes(crops: list[np.ndarray], kind: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder, iter(crops), len(crops), SIZE, len(crops), kind)
        return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
