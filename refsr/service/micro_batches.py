"""Faces of requests that run at once go through a network on a GPU in one call.

On a CPU calls side by side are quicker: docs/decisions/0015-micro-batches.md.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from refsr.inference import fitting
from refsr.inference.library import Upscaler


class _Call(NamedTuple):
    photo: np.ndarray
    references: tuple[np.ndarray, ...]
    result: "Future[np.ndarray]"


class MicroBatches:
    """A model for several threads: what they ask for while it is busy, it does together.

    See refsr.inference.restoration.FaceModel. Nobody waits for others to come: what a batch holds
    has come while the one before it ran.
    """

    def __init__(self, model: Upscaler) -> None:
        self._model = model
        self._waiting: list[_Call] = []
        self._lock, self._network = threading.Lock(), threading.Lock()
        self.lr_size, self.hr_size = model.lr_size, model.hr_size
        self.usual_landmarks, self.uses_reference = model.usual_landmarks, model.uses_reference

    def upscale(
        self,
        photo: np.ndarray,
        *references: np.ndarray,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> np.ndarray:
        """As `Upscaler.upscale`, of a square crop. A sample is drawn alone."""
        if temperature:
            with self._network:
                return self._model.upscale(photo, *references, temperature=temperature, seed=seed)
        call = _Call(self._fitted(photo), references, Future())
        with self._lock:
            self._waiting.append(call)
        with self._network:
            if not call.result.done():
                with self._lock:
                    calls, self._waiting = self._waiting, []
                self._run(calls)
        return call.result.result()

    def compatibility(self, photo: np.ndarray, *references: np.ndarray) -> Sequence[float | None]:
        """See `Upscaler.compatibility`."""
        return self._model.compatibility(photo, *references)

    def _fitted(self, photo: np.ndarray) -> np.ndarray:
        """The crop in the size that the network takes, so that crops of all sizes fit together."""
        planes = fitting.fit(photo, self.lr_size) * 255
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1).round().astype(np.uint8))

    def _run(self, calls: Sequence[_Call]) -> None:
        try:
            photos = [call.photo for call in calls]
            made = self._model.upscale(photos, [list(call.references) for call in calls])
        except BaseException as error:
            for call in calls:
                call.result.set_exception(error)
        else:
            for call, result in zip(calls, made, strict=True):
                call.result.set_result(result)
