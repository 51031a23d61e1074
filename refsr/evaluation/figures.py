"""Pictures of the protocol: strips of a person in every arm, the identity-transfer grid, and the README's sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.data.curated import Curated
from refsr.data.degrade import reduce
from refsr.evaluation.protocol import Models, images, restore, to_8_bits
from refsr.evaluation.statistics import ARMS

# In the order of ARMS, between the LR image and the three images that were given.
TITLES = ("LR", "bicubic", "SISR", "RefSR none", "RefSR wrong", "RefSR right", "HR", "reference", "wrong ref.")
INK, PAPER = (28, 28, 30), 255


@dataclass(frozen=True)
class Strip:
    """One image of one person: `pictures` as TITLES names them, (H, H, 3) uint8 RGB."""

    person: str
    wrong_person: str
    source: str
    pictures: dict[str, np.ndarray]


@dataclass(frozen=True)
class Grid:
    """Identity transfer: `outputs[i][j]` is LR image i restored with the reference of person j; all uint8 RGB."""

    people: list[str]
    lr: list[np.ndarray]
    references: list[np.ndarray]
    outputs: list[list[np.ndarray]]


def strips(curated: Curated, models: Models, test: pd.DataFrame, people: Sequence[str]) -> list[Strip]:
    """A strip of the first image of each of these people."""
    chosen = test.drop_duplicates("person").set_index("person").loc[list(people)]
    hr, right, wrong_ref = (images(curated, chosen[key].to_numpy(), models.device) for key in ("row", "right", "wrong"))
    lr = reduce(hr, models.scale)
    outputs = restore(models, lr, right, wrong_ref)
    columns = [_nearest(lr, models.scale), *(outputs[arm] for arm in ARMS), hr, right, wrong_ref]
    pictures = [to_pictures(column) for column in columns]
    rows = [dict(zip(TITLES, row, strict=True)) for row in zip(*pictures, strict=True)]
    names = zip(chosen.index, chosen["wrong_person"], chosen["source"], strict=True)
    return [Strip(person, wrong, source, row) for (person, wrong, source), row in zip(names, rows, strict=True)]


@torch.inference_mode()
def transfer_grid(curated: Curated, models: Models, test: pd.DataFrame, people: Sequence[str]) -> Grid:
    """Every LR against every person's reference, for the first image of each of these people."""
    chosen = test.drop_duplicates("person").set_index("person").loc[list(people)]
    hr, ref = (images(curated, chosen[key].to_numpy(), models.device) for key in ("row", "right"))
    lr = reduce(hr, models.scale)
    rows = [to_pictures(to_8_bits(models.refsr.upscale(one.expand(len(ref), -1, -1, -1), ref))) for one in lr]
    return Grid(list(people), to_pictures(_nearest(lr, models.scale)), to_pictures(ref), rows)


def sheet(rows: Sequence[Strip], zoom: int = 2) -> np.ndarray:
    """Strips below each other under a line of titles, enlarged `zoom` times without smoothing: (H, W, 3) uint8 RGB."""
    size = zoom * len(rows[0].pictures["HR"])
    gap, header = max(2, size // 32), max(12, size // 5)
    height = header + len(rows) * (size + gap) + gap
    canvas = np.full((height, gap + len(TITLES) * (size + gap), 3), PAPER, np.uint8)
    for column, title in enumerate(TITLES):
        left = gap + column * (size + gap)
        _write(canvas, title, (left + size // 2, header // 2), size // 8)
        for row, strip in enumerate(rows):
            top = header + row * (size + gap)
            canvas[top : top + size, left : left + size] = np.kron(
                strip.pictures[title], np.ones((zoom, zoom, 1), np.uint8)
            )
    return canvas


def to_pictures(batch: torch.Tensor) -> list[np.ndarray]:
    """(N, 3, H, W) in [0, 1] -> N of (H, W, 3) uint8."""
    return list((batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def _nearest(lr: torch.Tensor, scale: int) -> torch.Tensor:
    return F.interpolate(lr, scale_factor=scale, mode="nearest")


def _write(canvas: np.ndarray, text: str, centre: tuple[int, int], size: int) -> None:
    """Text in the middle of a place; the letters of all titles stand on one line."""
    font = cv2.FontFace("sans")
    width = cv2.getTextSize((0, 0), text, (0, 0), font, size, 500)[2]
    cv2.putText(canvas, text, (centre[0] - width // 2, centre[1] + size // 3), INK, font, size, 500)
