"""What a step reports while it runs; integrations.tracking sends it to MLflow."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, or an SQLite file in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)


class Tracker(Protocol):
    """Records the results of one run; every method may be called any number of times."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record named numbers, at a training step or for the run as a whole."""

    def image(self, image: "np.ndarray", key: str, step: int | None = None) -> None:
        """Record an image, (H, W, 3) uint8 RGB, as `key` at `step`."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file or a whole folder into the run."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, by which runs can be searched."""

    def others(self, tags: Mapping[str, str]) -> list[dict[str, str]]:
        """The tags of all other runs that have these, from first to last."""


class NullTracker:
    """Drops everything: for tests, and for all but the first process of a distributed training."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Drop the numbers."""

    def image(self, image: "np.ndarray", key: str, step: int | None = None) -> None:
        """Drop the image."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Drop the file."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Drop the tags."""

    def others(self, tags: Mapping[str, str]) -> list[dict[str, str]]:
        """None."""
        return []
