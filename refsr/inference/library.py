"""A loaded model for programs: NumPy images in, NumPy images out. It needs no PyTorch by itself."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refsr.errors import RefsrError
from refsr.face_crops import LANDMARKS, USUAL
from refsr.inference import fitting

if TYPE_CHECKING:
    from refsr.inference.photo import EnlargedPhoto

# a photo and its references, (h, w, 3) uint8 RGB each -> the larger face, likewise
Run = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]
# the same -> how well each reference fits
Rate = Callable[[np.ndarray, Sequence[np.ndarray]], list[float | None]]


class Upscaler:
    """One model of refsr. `refsr.load` makes it, with PyTorch or with ONNX Runtime behind it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        run: Run,
        facts: Mapping[str, Any] | None = None,
        rate: Rate | None = None,
    ) -> None:
        self._config = config
        self._run = run
        self._facts = facts or {}
        self._rate = rate

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "cpu") -> "Upscaler":
        """The model of a checkpoint file. Raises RefsrError where it is missing or damaged."""
        from refsr.inference.upscaler import compatibility, upscale_by
        from refsr.models.checkpoint import load_model, read_header

        network = load_model(path, device)
        config, facts = read_header(path)
        return cls(config, partial(upscale_by, network), facts, partial(compatibility, network))

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

    @property
    def usual_landmarks(self) -> np.ndarray:
        """(5, 2) where landmarks lie in the crops it was trained on, in [-1, 1]."""
        return np.array(self._facts.get(LANDMARKS, USUAL))

    def upscale(self, photo: np.ndarray, *references: np.ndarray) -> np.ndarray:
        """Make a crop of a small face larger. For whole photos there is `upscale_photo`.

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
        _require_images(photo, references)
        if references and not self.uses_reference:
            raise RefsrError("this is a single-image model (sisr): it takes no reference")
        # Copies: PyTorch warns of arrays that may not be written to, as Pillow's are.
        copies = [np.array(reference) for reference in references]
        return self._run(np.array(photo), copies)

    def upscale_photo(
        self, photo: np.ndarray, *references: np.ndarray, **options: Any
    ) -> "EnlargedPhoto":
        """Enlarge a photo and restore the face in it that fits the references.

        Args:
            photo: (H, W, 3) uint8 RGB.
            references: Each (H, W, 3) uint8 RGB, a good photo of the person.
            options: Of refsr.inference.photo.enlarge: scale, sharpness, all_faces, crop,
                drop_misfits.

        Raises:
            RefsrError: As `upscale`, and where no face is detected.
        """
        _require_images(photo, references)
        from refsr.inference.photo import upscale_photo

        copies = [np.array(reference) for reference in references]
        return upscale_photo(self, np.array(photo), copies, **options)

    def compatibility(self, photo: np.ndarray, *references: np.ndarray) -> list[float | None]:
        """How well each reference fits a small face, before it is used.

        Args:
            photo: As for `upscale`.
            references: As for `upscale`.

        Returns:
            Of each reference the probability in [0, 1] that it shows the person of `photo`, if
            right and wrong references were as frequent. None where the model does not say: a
            single-image model, the variants of the paper, an ONNX file, and a training without
            validation people.

        Raises:
            RefsrError: An image has another shape or dtype.
        """
        _require_images(photo, references)
        copies = [np.array(reference) for reference in references]
        return self._rate(np.array(photo), copies) if self._rate else [None] * len(copies)


def _require_images(photo: np.ndarray, references: Sequence[np.ndarray]) -> None:
    _require_image(photo, "photo")
    for number, reference in enumerate(references, 1):
        _require_image(reference, f"reference {number}")


def _require_image(image: np.ndarray, name: str) -> None:
    """Raises RefsrError unless `image` is (H, W, 3) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise RefsrError(f"{name}: an array (H, W, 3) is expected, not {type(image).__name__}")
    if image.dtype != np.uint8:
        raise RefsrError(f"{name}: dtype uint8 (0 to 255) is expected, not {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise RefsrError(f"{name}: shape (H, W, 3), RGB, is expected, not {image.shape}")
