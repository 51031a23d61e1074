"""How much a restored video trembles: steadied, and frame by frame.

    python benchmarks/video.py --model models/refsr

A rendered head moves over its background. The flicker is the mean absolute difference between the
change from frame to frame of the result and of the truth, in levels of 255, within the square of
the face. Prints one JSON object: flicker and PSNR of the bicubic enlargement, of each frame
restored alone, and of the video.
"""

import argparse
import json
from collections.abc import Sequence

import cv2
import numpy as np
import torch

import refsr
from refsr.curation.alignment import resample
from refsr.errors import RefsrError
from refsr.inference.library import Upscaler
from refsr.inference.photo import enlarge, plain
from refsr.inference.portraits import Portrait, portraits_of
from refsr.inference.video import enlarge_frames
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render

SCALE = 4
_HEAD = Frame(240, 240, 105.0, 120.0, 120.0)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/refsr")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--face", type=float, default=14.0, help="width of the face, pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = [
        _measured(options.model, person, options.frames, options.face)
        for person in range(900, 900 + options.people)
    ]
    names = measured[0]
    print(json.dumps({name: _mean([each[name] for each in measured]) for name in names}))


def _mean(values: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([each[key] for each in values])), 3) for key in values[0]}


def _measured(path: str, person: int, count: int, face: float) -> dict[str, dict[str, float]]:
    network = refsr.load(path)
    truth = moving_head(person, count, face * SCALE / 105)
    small = [resample(each, each.shape[1] // SCALE, each.shape[0] // SCALE) for each in truth]
    built = model(person)
    reference = render(built, view(person + 1, built.who, frontal=True), _HEAD).image
    portraits = portraits_of(network, [reference])
    made = {
        "bicubic": [plain(each, SCALE) for each in small],
        "frame_by_frame": [_alone(network, each, portraits) for each in small],
        "video": [image for image, _ in enlarge_frames(network, iter(small), portraits, SCALE)],
    }
    return {name: _scores(frames, truth) for name, frames in made.items()}


def _alone(network: Upscaler, frame: np.ndarray, portraits: Sequence[Portrait]) -> np.ndarray:
    """A frame restored by itself; by a plain filter where no face is detected."""
    try:
        return enlarge(network, frame, portraits, scale=SCALE).image
    except RefsrError:
        return plain(frame, SCALE)


def moving_head(person: int, count: int, zoom: float) -> list[np.ndarray]:
    """Frames (160, 160, 3) of a head on a smooth path, between pixels."""
    built = model(person)
    image = render(built, view(person, built.who, frontal=True), _HEAD).image
    frames = []
    for number in range(count):
        phase = 2 * np.pi * number / 40
        shift = 80 - 120 * zoom + 8 * np.sin(phase), 80 - 120 * zoom + 5 * np.cos(1.3 * phase)
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        blurred = cv2.GaussianBlur(image, None, 0.5 / zoom) if zoom < 1 else image
        border = cv2.BORDER_REFLECT_101
        frames.append(
            np.asarray(
                cv2.warpAffine(
                    blurred, matrix, (160, 160), flags=cv2.INTER_CUBIC, borderMode=border
                )
            )
        )
    return frames


def _scores(frames: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> dict[str, float]:
    made, true = np.stack(frames).astype(np.float64), np.stack(truth).astype(np.float64)
    middle = np.s_[:, 50:110, 50:110]
    made, true = made[middle], true[middle]
    flicker = np.abs(np.diff(made, axis=0) - np.diff(true, axis=0)).mean()
    error = np.square(made - true).mean(axis=(1, 2, 3))
    return {"flicker": float(flicker), "psnr": float((10 * np.log10(255**2 / error)).mean())}


if __name__ == "__main__":
    main()
