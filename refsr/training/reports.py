"""What a training reports, held back while the training may still go back before it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from refsr.tracker import Tracker


class Reports:
    """A tracker (see refsr.tracker.Tracker) that gets each step once.

    MLflow deletes no point, and a training that is rolled back repeats steps with other numbers. So
    the numbers and pictures since the last checkpoint are held until the next one.
    """

    def __init__(self, tracker: Tracker, *, holds: bool) -> None:
        self._tracker, self._holds = tracker, holds
        self._held: list[Callable[[], None]] = []

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, now or at the next checkpoint."""
        self._report(partial(self._tracker.metrics, values, step))

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        """Record an image, now or at the next checkpoint."""
        self._report(partial(self._tracker.image, image, key, step))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file or a whole folder into the run."""
        self._tracker.artifact(path, folder)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._tracker.tags(values)

    def others(self, tags: Mapping[str, str]) -> list[dict[str, str]]:
        """The tags of all other runs that have these."""
        return self._tracker.others(tags)

    def release(self) -> None:
        """Report what is held: it will not be repeated."""
        held, self._held = self._held, []
        for report in held:
            report()

    def forget(self) -> None:
        """Drop what is held: it is repeated. From now on nothing is held."""
        self._held, self._holds = [], False

    def _report(self, report: Callable[[], None]) -> None:
        self._held.append(report)
        if not self._holds:
            self.release()
