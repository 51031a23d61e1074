"""MTCNN: finds faces with five landmarks.

There are three small networks, each of which looks at what the one before left over.

Source: K. Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", IEEE Signal Processing Letters, 2016. Weights: facenet-pytorch (MIT), whose thresholds
and steps are kept.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.pretrained.files import package_file
from refsr.models.pretrained.mtcnn_inputs import CELL, STRIDE, canvas, cells, cut, levels

THRESHOLDS = (0.6, 0.7, 0.7)  # least probability of a face after each network
SMALLEST = 20.0  # pixels; smaller faces are not sought


class Faces(NamedTuple):
    """N faces, the likeliest first, in pixels of the image."""

    boxes: np.ndarray  # (N, 4) left, top, width, height; may leave the image
    points: np.ndarray  # (N, 5, 2) eyes, nose tip, corners of the mouth, left of the image first
    probability: np.ndarray  # (N,)


Detect = Callable[
    [np.ndarray, float], Faces
]  # an image (H, W, 3) uint8 RGB and the smallest face sought, pixels
Certainty = Callable[
    [np.ndarray], np.ndarray
]  # faces (N, S, S, 3) uint8 RGB, each filling its square -> (N,)


def face_detector() -> Detect:
    """The detector. Raises RefsrError where the weights are not installed."""
    proposal, refinement, output = (_load(network, name) for network, name in _NETWORKS.items())

    @torch.inference_mode()
    def detect(image: np.ndarray, smallest: float = SMALLEST) -> Faces:
        sums = cv2.integral(image)
        boxes, score = _propose(proposal, sums, max(smallest, CELL))
        for network, size, least in ((refinement, 24, THRESHOLDS[1]), (output, 48, THRESHOLDS[2])):
            if not len(boxes):
                return Faces(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0))
            boxes = _squared(boxes)
            logits, shift, *marks = (
                out.double().numpy() for out in network(cut(sums, boxes, size))
            )
            score = _face_probability(logits)
            passing = score >= least
            sides = boxes[passing, 2:] - boxes[passing, :2] + 1
            points = marks[0][passing] if marks else np.empty((passing.sum(), 10))
            points = (
                boxes[passing, None, :2]
                - 1
                + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
            )
            boxes, score = boxes[passing] + shift[passing] * np.tile(sides, 2), score[passing]
            kept = _apart(boxes, score, 0.7, of_smaller=bool(marks))
            boxes, score, points = boxes[kept], score[kept], points[kept]
        return Faces(np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), points, score)

    return detect


def face_certainty() -> Certainty:
    """The last of the three networks alone: how probable each picture is of a face.

    Raises as above.
    """
    output = _load(_Output, _NETWORKS[_Output])

    @torch.inference_mode()
    def certainty(faces: np.ndarray) -> np.ndarray:
        pixels = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() - 127.5) / 128
        return _face_probability(
            output(F.interpolate(pixels, size=(48, 48), mode="area"))[0].double().numpy()
        )

    return certainty


class _Proposal(nn.Module):
    """Every 12 x 12 pixels, 2 apart: is it a face, and where are the box's edges?"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, 3, H, W) in [-1, 1] -> logits (B, 2, h, w), shifts (B, 4, h, w).

        The shifts are those of the edges, in box sides.
        """
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x), self.conv4_2(x)


class _Refinement(nn.Module):
    """(B, 3, 24, 24) -> logits (B, 2), shifts (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu4(self.dense4(_flat(self.prelu3(self.conv3(x)))))
        return self.dense5_1(x), self.dense5_2(x)


class _Output(nn.Module):
    """(B, 3, 48, 48) -> logits (B, 2), shifts (B, 4), landmarks (B, 10).

    Landmarks are five x, then five y, in box sides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = (
            nn.Linear(256, 2),
            nn.Linear(256, 4),
            nn.Linear(256, 10),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu5(self.dense5(_flat(self.prelu4(self.conv4(x)))))
        return self.dense6_1(x), self.dense6_2(x), self.dense6_3(x)


_NETWORKS: dict[type[nn.Module], str] = {_Proposal: "pnet", _Refinement: "rnet", _Output: "onet"}


def _load(network: type[nn.Module], name: str) -> nn.Module:
    path = package_file("facenet_pytorch", f"data/{name}.pt")
    loaded = network()
    loaded.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return loaded.requires_grad_(False).eval()


def _flat(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, W * H * C), the order in which the weights were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _face_probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(logits[:, 0] - logits[:, 1])))


def _propose(
    network: nn.Module, sums: np.ndarray, smallest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where the first network sees a face at any size: boxes (N, 4), and their scores (N,).

    A box is left, top, right, bottom. The network receives all sizes at once, which takes half the
    time of one after another.
    """
    boxes, scores = [np.empty((0, 4))], [np.empty(0)]
    pyramid = levels(sums.shape[0] - 1, sums.shape[1] - 1, smallest)
    if pyramid:
        logits, shift = (out[0].numpy() for out in network(canvas(sums, pyramid)))
    for level in pyramid:
        own = cells(level)
        margin = logits[1][own] - logits[0][own]
        at = np.nonzero(margin >= math.log(THRESHOLDS[0] / (1 - THRESHOLDS[0])))
        corner = np.stack(at[::-1], axis=1) * STRIDE
        corners = np.hstack([corner + 1, corner + CELL])
        corners = np.floor(corners / level.scale)
        shifts = shift[(slice(None), *own)][(slice(None), *at)].T.astype(np.float64)
        corners += shifts * np.tile(corners[:, 2:] - corners[:, :2], 2)
        score = 1 / (1 + np.exp(-margin[at].astype(np.float64)))
        kept = _apart(corners, score, 0.5)
        boxes.append(corners[kept])
        scores.append(score[kept])
    every, score = np.concatenate(boxes), np.concatenate(scores)
    kept = _apart(every, score, 0.7)
    return every[kept], score[kept]


def _squared(boxes: np.ndarray) -> np.ndarray:
    """Squares of the longer side about the same centres, whole pixels."""
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    corner = (boxes[:, :2] + boxes[:, 2:] - sides) / 2
    return np.asarray(np.trunc(np.hstack([corner, corner + sides])))


def _apart(
    boxes: np.ndarray, score: np.ndarray, most: float, of_smaller: bool = False
) -> np.ndarray:
    """Positions of boxes, the best first, that overlap no better one.

    To overlap is to share more than `most` of their union. With `of_smaller` it is the share of the
    smaller of the two that counts.
    """
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    waiting, kept = np.argsort(-score, kind="stable"), []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
        common = np.maximum(0, np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - corner + 1).prod(
            axis=1
        )
        whole = (
            np.minimum(area[best], area[waiting])
            if of_smaller
            else area[best] + area[waiting] - common
        )
        waiting = waiting[common / whole <= most]
    return np.array(kept, dtype=int)
