"""A contact sheet of a curated set: references and images of some identities."""

import cv2
import numpy as np

from refsr.dataset.curated import Curated

SHEET = (10, 8)  # identities and images of each on the contact sheet


def contact_sheet(curated: Curated) -> np.ndarray:
    """References, framed, and images of some identities, a row each: (H, W, 3) uint8 RGB."""
    manifest = curated.table
    identities = manifest.drop_duplicates("identity")["identity"]
    chosen = identities.iloc[np.unique(np.linspace(0, len(identities) - 1, SHEET[0]).astype(int))]
    return np.concatenate(
        [_sheet_row(curated, np.flatnonzero(manifest["identity"] == key)[: SHEET[1]]) for key in chosen]
    )


def _sheet_row(curated: Curated, rows: np.ndarray) -> np.ndarray:
    images = curated.pixels(rows)
    cv2.rectangle(images[0], (0, 0), (curated.hr_size - 1, curated.hr_size - 1), (255, 176, 0), 2)
    blank = np.full((SHEET[1] - len(images), *images.shape[1:]), 255, np.uint8)
    return np.concatenate([*images, *blank], axis=1)
