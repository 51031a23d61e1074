"""One square crop of a face, enlarged: what it shows is kept, the network adds finer detail."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from refsr.curation.alignment import resample
from refsr.dataset.tensors import to_images, to_pixels
from refsr.models.upscaling import hold_to_lr

_FADING = 2 / 3  # how fast the network's share falls where the face is larger than its LR


class FaceModel(Protocol):
    """What enlarges a square crop of a face: see refsr.inference.library.Upscaler."""

    @property
    def lr_size(self) -> int: ...

    @property
    def hr_size(self) -> int: ...

    @property
    def usual_landmarks(self) -> np.ndarray: ...

    def upscale(
        self,
        photo: np.ndarray,
        *references: np.ndarray,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> np.ndarray: ...

    def compatibility(
        self, photo: np.ndarray, *references: np.ndarray
    ) -> Sequence[float | None]: ...


def restore(
    model: FaceModel,
    crop: np.ndarray,
    references: Sequence[np.ndarray],
    sharpness: float,
    fidelity: float = 1.0,
    **draw: Any,
) -> tuple[np.ndarray, float]:
    """Enlarge a crop to the network's HR size.

    Args:
        model: The network.
        crop: (c, c, 3) uint8 RGB. One that is as large as HR is returned as it is.
        references: Each (H, W, 3) uint8 RGB, cropped as in training.
        sharpness: In [0, 1], the share of the network's detail.
        fidelity: In [0, 1], how strongly the result is held to the crop.
        draw: `temperature` and `seed` of `Upscaler.upscale`, where a sample is drawn.

    Returns:
        (H, H, 3) uint8 RGB, which reduced to c pixels is the crop, at fidelity 1; and the share of
        the network's detail in it. The larger the crop, the less the network knows better.
    """
    side, hr_size = len(crop), model.hr_size
    if side >= hr_size:
        return crop, 0.0
    small = to_images(crop[None])
    plain = hold_to_lr(to_images(resample(crop, hr_size, hr_size)[None]), small, 1.0)
    share = sharpness * min(1.0, (model.lr_size / side) ** _FADING)
    restored = model.upscale(crop, *references, **draw)
    sharp = hold_to_lr(to_images(restored[None]), small, fidelity)
    return to_pixels(plain + share * (sharp - plain))[0], share
