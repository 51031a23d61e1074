"""The pretrained networks of curation: face detector, face probability, face embedding."""

import os
from functools import cache

import numpy as np
import torch

from refsr.curation import alignment
from refsr.curation.extraction import Detector
from refsr.models.pretrained import identity_network
from refsr.models.pretrained.mtcnn import Certainty, Detect, face_certainty, face_detector


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


@torch.inference_mode()
def embed_faces(chips: np.ndarray) -> np.ndarray:
    """Face chips (N, 150, 150, 3) uint8 RGB -> (N, 128) float32 by dlib's network."""
    pixels = torch.from_numpy(chips).permute(0, 3, 1, 2).float()
    embeddings: np.ndarray = _identity_network()(pixels).numpy()
    return embeddings


def find_faces(image: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) and landmarks (K, 5, 2), in pixels, of faces, the most probable first.

    `image` is (H, W, 3) uint8 RGB; faces under `smallest` pixels are not sought.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of proposals that are left out below
        faces = _face_detector()(image, smallest)
    finite = np.isfinite(faces.boxes).all(axis=1) & np.isfinite(faces.points).all(axis=(1, 2))
    return faces.boxes[finite], faces.points[finite]


def face_probability(chips: np.ndarray) -> np.ndarray:
    """Face chips (N, 150, 150, 3) uint8 RGB -> (N,) probability that each shows a face.

    The network receives the middle of the chip.
    """
    outside = 1 - 1 / alignment.CHIP_FACTOR
    margin = round(alignment.CHIP * outside / 2)
    return _face_certainty()(chips[:, margin:-margin, margin:-margin])


DETECTOR = Detector(find_faces, face_probability)


@cache
def _face_detector() -> Detect:
    return face_detector()


@cache
def _face_certainty() -> Certainty:
    return face_certainty()


@cache
def _identity_network() -> torch.nn.Module:
    return identity_network()
