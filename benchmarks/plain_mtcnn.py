"""MTCNN as facenet-pytorch runs it: every size and every cut on its own.

The standard against which detection.py and a test measure `refsr.models.pretrained.mtcnn`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.pretrained import mtcnn
from refsr.models.pretrained.mtcnn import Faces
from refsr.models.pretrained.mtcnn_inputs import CELL, STEP, STRIDE


@torch.inference_mode()
def detect(networks: list[nn.Module], image: np.ndarray, smallest: float) -> Faces:
    """The faces of an image (H, W, 3) uint8 RGB."""
    proposal, refinement, output = networks
    pixels = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() - 127.5) / 128
    boxes = mtcnn._squared(_propose(proposal, pixels, max(smallest, CELL)))
    if not len(boxes):
        return _none()
    logits, shift = (out.double().numpy() for out in refinement(_cut(pixels, boxes, 24)))
    boxes, _, _ = _refined(boxes, logits, shift, mtcnn.THRESHOLDS[1], of_smaller=False)
    boxes = mtcnn._squared(boxes)
    if not len(boxes):
        return _none()
    logits, shift, marks = (out.double().numpy() for out in output(_cut(pixels, boxes, 48)))
    sides = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
    points = boxes[:, None, :2] - 1 + marks.reshape(-1, 2, 5).transpose(0, 2, 1) * sides
    boxes, score, kept = _refined(boxes, logits, shift, mtcnn.THRESHOLDS[2], of_smaller=True)
    return Faces(np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), points[kept], score)


def networks() -> list[nn.Module]:
    """The three networks. Raises RefsrError where the weights are not installed."""
    return [mtcnn._load(network, name) for network, name in mtcnn._NETWORKS.items()]


def _none() -> Faces:
    return Faces(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0))


def _refined(
    boxes: np.ndarray, logits: np.ndarray, shift: np.ndarray, least: float, *, of_smaller: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of faces, their scores, and their rows."""
    score = mtcnn._face_probability(logits)
    rows = np.flatnonzero(score >= least)
    sides = boxes[rows, 2:] - boxes[rows, :2] + 1
    moved = boxes[rows] + shift[rows] * np.tile(sides, 2)
    kept = mtcnn._apart(moved, score[rows], 0.7, of_smaller=of_smaller)
    return moved[kept], score[rows][kept], rows[kept]


def _propose(network: nn.Module, pixels: torch.Tensor, smallest: float) -> np.ndarray:
    """Boxes (N, 4) in which the first network sees a face: left, top, right, bottom."""
    height, width = pixels.shape[2:]
    boxes, scores = [np.empty((0, 4))], [np.empty(0)]
    scale = CELL / smallest
    while min(height, width) * scale >= CELL:
        size = int(height * scale + 1), int(width * scale + 1)
        small = F.interpolate(pixels, size=size, mode="area")
        logits, shift = (out[0].flatten(1).T.double().numpy() for out in network(small))
        columns = (size[1] - 2 + 1) // 2 - 4
        score = mtcnn._face_probability(logits)
        at = np.flatnonzero(score >= mtcnn.THRESHOLDS[0])
        corner = np.stack([at % columns, at // columns], axis=1) * STRIDE
        corners = np.hstack([np.floor((corner + 1) / scale), np.floor((corner + CELL) / scale)])
        corners += shift[at] * np.tile(corners[:, 2:] - corners[:, :2], 2)
        kept = mtcnn._apart(corners, score[at], 0.5)
        boxes.append(corners[kept])
        scores.append(score[at][kept])
        scale *= STEP
    every = np.concatenate(boxes)
    return np.asarray(every[mtcnn._apart(every, np.concatenate(scores), 0.7)])


def _cut(pixels: torch.Tensor, boxes: np.ndarray, size: int) -> torch.Tensor:
    """The image within the boxes, reduced to (N, 3, size, size); black beyond its border."""
    height, width = pixels.shape[2:]
    cuts = []
    for left, top, right, bottom in boxes.astype(int):
        inner = pixels[:, :, max(top - 1, 0) : max(bottom, 1), max(left - 1, 0) : max(right, 1)]
        beyond = (max(0, 1 - left), max(0, right - width), max(0, 1 - top), max(0, bottom - height))
        cuts.append(F.interpolate(F.pad(inner, beyond, value=-1), size=(size, size), mode="area"))
    return torch.cat(cuts)
