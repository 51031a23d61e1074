"""A loaded model for programs: NumPy images in, NumPy images out. It needs no PyTorch by itself."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from refsr.errors import RefsrError
from refsr.inference import fitting

# a photo and its references, (h, w, 3) uint8 RGB each -> the larger face, likewise
Run = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


class Upscaler:
    """One model of refsr. `refsr.load` makes it, with PyTorch or with ONNX Runtime behind it."""

    def __init__(self, config: Mapping[str, Any], run: Run) -> None:
        self._config = config
        self._run = run

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "cpu") -> "Upscaler":
        """The model of a checkpoint file. Raises RefsrError where it is missing or damaged."""
        from refsr.inference.upscaler import upscale_by
        from refsr.models import SuperResolver
        from refsr.models.checkpoint import load_model

        network = load_model(path, device)
        return cls(cast(SuperResolver, network).config, partial(upscale_by, network))

    @property
    def lr_size(self) -> int:
        """The longer side of the small photo that the network takes, pixels; others are fitted."""
        return fitting.sizes(self._config)[0]

    @property
    def hr_size(self) -> int:
        """The longer side of what `upscale` returns, pixels."""
        return fitting.sizes(self._config)[1]

    @property
    def uses_reference(self) -> bool:
        """Whether references change the result."""
        return str(self._config["model"]) == "refsr"

    def upscale(self, photo: np.ndarray, *references: np.ndarray) -> np.ndarray:
        """Make a small face larger.

        Args:
            photo: (h, w, 3) uint8 RGB, a crop of the face as in training.
            references: Each (H, W, 3) uint8 RGB, a crop of a good photo of the same person; of any
                size. Without one, the network does without.

        Returns:
            (h', w', 3) uint8 RGB with the proportions of `photo`; the longer side is `hr_size`.

        Raises:
            RefsrError: An image has another shape or dtype, or this is a single-image model and
                references are given.
        """
        _require_image(photo, "photo")
        for number, reference in enumerate(references, 1):
            _require_image(reference, f"reference {number}")
        if references and not self.uses_reference:
            raise RefsrError("this is a single-image model (sisr): it takes no reference")
        # Copies: PyTorch warns of arrays that may not be written to, as Pillow's are.
        copies = [np.array(reference) for reference in references]
        return self._run(np.array(photo), copies)


def _require_image(image: np.ndarray, name: str) -> None:
    """Raises RefsrError unless `image` is (H, W, 3) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise RefsrError(f"{name}: an array (H, W, 3) is expected, not {type(image).__name__}")
    if image.dtype != np.uint8:
        raise RefsrError(f"{name}: dtype uint8 (0 to 255) is expected, not {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise RefsrError(f"{name}: shape (H, W, 3), RGB, is expected, not {image.shape}")
