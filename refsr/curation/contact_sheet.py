"""A contact sheet of a curated set: references and images of some identities."""

import cv2
import numpy as np

from refsr.dataset.curated import Curated

SHEET = (10, 8)  # identities, and images of each


def contact_sheet(curated: Curated) -> np.ndarray:
    """A row per identity, its reference framed: (H, W, 3) uint8 RGB."""
    manifest = curated.table
    identities = manifest.drop_duplicates("identity")["identity"]
    positions = np.linspace(0, len(identities) - 1, SHEET[0]).astype(int)
    rows = []
    for key in identities.iloc[np.unique(positions)]:
        images = np.flatnonzero(manifest["identity"] == key)
        rows.append(_sheet_row(curated, images[: SHEET[1]]))
    return np.concatenate(rows)


def _sheet_row(curated: Curated, rows: np.ndarray) -> np.ndarray:
    images = curated.pixels(rows)
    corner = curated.hr_size - 1, curated.hr_size - 1
    cv2.rectangle(images[0], (0, 0), corner, (255, 176, 0), 2)
    missing = SHEET[1] - len(images)
    blank = np.full((missing, *images.shape[1:]), 255, np.uint8)
    return np.concatenate([*images, *blank], axis=1)
