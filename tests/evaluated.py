"""A small evaluation: its parameters, and a tracker that remembers what it was shown."""

from pathlib import Path

import numpy as np

from refsr.config import Evaluate
from refsr.tracker import NullTracker

PARAMS = Evaluate(
    bootstrap=100, strips=1, grid=3, batch_size=8, samples=2, kid_images=4, robustness=1
)


class Recorder(NullTracker):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.images: dict[str, np.ndarray] = {}
        self.files: list[str] = []

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        self.images[key] = image

    def artifact(self, path: Path, folder: str = "") -> None:
        assert path.exists()
        self.files.append(path.name)


Done = tuple[Path, dict[str, float], Recorder]  # its folder, numbers and tracker
