"""Precision of the face probability on drawn images without a face, and recall on rendered faces.

    python benchmarks/nonfaces.py --images 2000

Prints one JSON object. For the limits of every image (`curate.min_face_probability`) and of a
reference (`curate.min_reference_probability`): the share of rendered faces that pass (recall), the
share of non-faces that pass, by kind, and the precision of "is a face" if faces and non-faces were
as many.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from refsr.config import Curate, Synthesize
from refsr.curation.alignment import CHIP
from refsr.curation.curated_writer import write_curated
from refsr.curation.extraction import Detector
from refsr.curation.face_models import embed_faces, face_probability, find_faces
from refsr.synthetic.dataset import write_raw

Draw = Callable[[np.random.Generator], np.ndarray]  # -> (150, 150, 3) uint8 RGB


def coloured_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency, in colours that correlate.

    It falls to a power of 0 (white) to 2 (clouds).
    """
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(CHIP), np.fft.fftfreq(CHIP)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(3, CHIP, CHIP))) / frequency ** rng.uniform(0, 2)
    waves = np.fft.ifft2(spectrum).real
    waves = (waves - waves.mean()) / waves.std() + rng.uniform(0, 2) * waves[:1] / waves[:1].std()
    return _to_image(waves.transpose(1, 2, 0) * rng.uniform(15, 60) + rng.uniform(60, 190, 3))


def rainy_window(rng: np.random.Generator) -> np.ndarray:
    """Lights out of focus behind drops."""
    image = np.full((CHIP, CHIP, 3), rng.uniform(20, 120, 3), np.float32)
    for _ in range(rng.integers(5, 40)):
        centre = tuple(int(x) for x in rng.integers(0, CHIP, 2))
        cv2.circle(image, centre, int(rng.integers(4, 30)), rng.uniform(60, 255, 3).tolist(), -1)
    image = cv2.GaussianBlur(image, None, rng.uniform(2, 9))
    for _ in range(rng.integers(10, 120)):
        x, y = (int(value) for value in rng.integers(0, CHIP, 2))
        colour = image[y, x] * rng.uniform(0.5, 1.6)
        axes = (int(rng.integers(1, 6)), int(rng.integers(1, 9)))
        cv2.ellipse(image, (x, y), axes, 0, 0, 360, colour.tolist(), -1)
    return _to_image(image)


def texture(rng: np.random.Generator) -> np.ndarray:
    """Waves, bricks or weave."""
    y, x = np.mgrid[:CHIP, :CHIP] / rng.uniform(3, 30)
    angle = rng.uniform(0, np.pi)
    wave = np.sin(x * np.cos(angle) + y * np.sin(angle)) + rng.integers(0, 2) * np.sin(
        y * rng.uniform(0.5, 2)
    )
    wave = np.sign(wave) if rng.random() < 0.3 else wave
    colours = rng.uniform(0, 255, (2, 3))
    share = ((wave - wave.min()) / max(np.ptp(wave), 1e-9))[..., None]
    return _to_image(
        colours[0] * share
        + colours[1] * (1 - share)
        + rng.normal(0, rng.uniform(0, 15), (CHIP, CHIP, 3))
    )


def objects(rng: np.random.Generator) -> np.ndarray:
    """Boxes, balls and bars before a background that shades off."""
    y, x = np.mgrid[:CHIP, :CHIP][:, ..., None] / CHIP
    above, below = rng.uniform(0, 255, (2, 3))
    image = np.ascontiguousarray(above * (1 - y) + below * y * (1 - x / 2), np.float32)
    for _ in range(rng.integers(1, 9)):
        colour, (a, b) = rng.uniform(0, 255, 3).tolist(), rng.integers(0, CHIP, (2, 2)).tolist()
        match rng.integers(3):
            case 0:
                cv2.rectangle(image, a, b, colour, -1)
            case 1:
                axes, angle = [max(2, side // 2) for side in b], float(rng.uniform(0, 180))
                cv2.ellipse(image, a, axes, angle, 0, 360, colour, -1)
            case 2:
                cv2.line(image, a, b, colour, int(rng.integers(1, 20)))
    return _to_image(cv2.GaussianBlur(image, None, rng.uniform(0.3, 3)))


KINDS: dict[str, Draw] = {
    draw.__name__: draw for draw in (coloured_noise, rainy_window, texture, objects)
}


def _to_image(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def probabilities(draw: Draw, images: int, seed: int) -> np.ndarray:
    """(images,) of what a face is taken for."""
    rng = np.random.default_rng(seed)
    chips = np.stack([draw(rng) for _ in range(images)])
    return np.concatenate([face_probability(chips[at : at + 32]) for at in range(0, images, 32)])


def face_probabilities(identities: int) -> np.ndarray:
    """Of rendered faces, as curation cuts them out."""
    asked: list[np.ndarray] = []

    def ask(chips: np.ndarray) -> np.ndarray:
        asked.append(face_probability(chips))
        return asked[-1]

    params = Synthesize(train_identities=identities, test_identities=2, views=6, defects=0)
    limits = Curate(hr_size=32, train_identities=identities, test_identities=2)
    with tempfile.TemporaryDirectory() as folder:
        raw, curated = Path(folder) / "raw", Path(folder) / "curated"
        write_raw(params, raw)
        detector = Detector(find_faces, ask)
        write_curated(limits, raw, curated, embed_faces, 1, detector=detector)
    return np.concatenate(asked)


def main() -> None:
    """Draw, ask, and print."""
    options = parse_options()
    faces = face_probabilities(options.identities)
    others = {
        kind: probabilities(draw, options.images, options.seed) for kind, draw in KINDS.items()
    }
    limits = Curate()
    report: dict[str, object] = {"faces": len(faces), "non_faces": options.images * len(KINDS)}
    for name in ("min_face_probability", "min_reference_probability"):
        least = getattr(limits, name)
        passed = {kind: float((values >= least).mean()) for kind, values in others.items()}
        recall, wrong = float((faces >= least).mean()), float(np.mean([*passed.values()]))
        report[name] = {
            "limit": least,
            "recall": recall,
            "passed": passed,
            "precision": recall / (recall + wrong),
        }
    print(json.dumps(report))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=2000, help="non-faces of each kind (default: 2000)"
    )
    parser.add_argument("--identities", type=int, default=40, help="rendered people (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
