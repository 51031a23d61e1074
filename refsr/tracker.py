"""What a step may report while it runs. `services.tracking` sends it to MLflow; NullTracker drops it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, or an SQLite file in the present folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)


class Tracker(Protocol):
    """A sink for what one tracked run shows; every call may be made any number of times."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record named numbers, at a training step or for the run as a whole."""

    def image(self, image: "np.ndarray", key: str, step: int | None = None) -> None:
        """Record a picture, (H, W, 3) uint8 RGB, under `key` at `step`."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file or a whole folder with the run."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Attach searchable facts to the run."""


class NullTracker:
    """A tracker that keeps nothing: for tests, and for every process but the first of a distributed training."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Drop the numbers."""

    def image(self, image: "np.ndarray", key: str, step: int | None = None) -> None:
        """Drop the picture."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Drop the file."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Drop the tags."""
