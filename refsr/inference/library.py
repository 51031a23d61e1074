"""A loaded model for programs: NumPy images in, NumPy images out. It needs no PyTorch by itself."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refsr.errors import RefsrError
from refsr.face_crops import LANDMARKS, USUAL
from refsr.inference import fitting, options
from refsr.inference.options import Options

if TYPE_CHECKING:
    from refsr.inference.photo import EnlargedPhoto

# a photo and its references, (h, w, 3) uint8 RGB each -> the larger face, likewise
Run = Callable[[np.ndarray, Sequence[np.ndarray], Options], np.ndarray]
# a photo and its references -> how well each reference fits
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

    def upscale(
        self,
        photo: np.ndarray,
        *references: np.ndarray | Sequence[np.ndarray],
        sharpness: float = 1.0,
        temperature: float = 0.0,
        fidelity: float = 0.0,
        seed: int = 0,
        device: str | None = None,
    ) -> np.ndarray:
        """Make a crop of a small face larger. For whole photos there is `upscale_photo`.

        Args:
            photo: (h, w, 3) uint8 RGB, a crop of the face as in training.
            references: Each (H, W, 3) uint8 RGB, a crop of a good photo of the same person; of any
                size. Without one, the network does without. A list of them will do.
            sharpness: In [0, 1], the share of the network's detail; 0 is a plain filter.
            temperature: From 0 to 2: 0 gives the most likely face, 1 draws one of those that the
                network takes for possible.
            fidelity: In [0, 1], how strongly the result is held to the photo: 0 is the network's
                own output, 1 makes the result, reduced again, the photo.
            seed: Of what is drawn at a temperature above 0.
            device: "cpu", "cuda" or "auto": where it is run from now on; None: where it is.

        Returns:
            (h', w', 3) uint8 RGB with the proportions of `photo`; the longer side is `hr_size`.

        Raises:
            RefsrError: An image has another shape or dtype, an option is out of its range, or the
                model does not have it: references of a single-image model, a temperature of one
                that draws no samples or of an ONNX file.
        """
        given = _listed(references)
        _require_images(photo, given)
        chosen = Options(temperature, seed, fidelity, device)
        options.require(chosen)
        options.require_range("sharpness", sharpness, 0, 1)
        if given and not self.uses_reference:
            raise RefsrError("this is a single-image model (sisr): it takes no reference")
        # Copies: PyTorch warns of arrays that may not be written to, as Pillow's are.
        copies = [np.array(reference) for reference in given]
        large = self._run(np.array(photo), copies, chosen)
        return large if sharpness == 1 else _softened(photo, large, sharpness)

    def upscale_photo(
        self,
        photo: np.ndarray,
        *references: np.ndarray | Sequence[np.ndarray],
        **options: Any,
    ) -> "EnlargedPhoto":
        """Enlarge a photo and restore the face in it that fits the references.

        Args:
            photo: (H, W, 3) uint8 RGB.
            references: Each (H, W, 3) uint8 RGB, a good photo of the person.
            options: Of refsr.inference.photo.enlarge: scale, sharpness, all_faces, crop,
                drop_misfits, fidelity, temperature, seed.

        Raises:
            RefsrError: As `upscale`, and where no face is detected.
        """
        given = _listed(references)
        _require_images(photo, given)
        from refsr.inference.photo import upscale_photo

        copies = [np.array(reference) for reference in given]
        return upscale_photo(self, np.array(photo), copies, **options)

    def compatibility(
        self, photo: np.ndarray, *references: np.ndarray | Sequence[np.ndarray]
    ) -> list[float | None]:
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
        given = _listed(references)
        _require_images(photo, given)
        copies = [np.array(reference) for reference in given]
        return self._rate(np.array(photo), copies) if self._rate else [None] * len(copies)


def _listed(references: Sequence[np.ndarray | Sequence[np.ndarray]]) -> list[np.ndarray]:
    """References that were given one by one, or as one list or tuple."""
    if len(references) == 1 and isinstance(references[0], list | tuple):
        return list(references[0])
    return list(references)  # type: ignore[arg-type]


def _softened(photo: np.ndarray, large: np.ndarray, sharpness: float) -> np.ndarray:
    """A share of the network's detail over the photo by a plain bicubic filter."""
    planes: np.ndarray = np.moveaxis(photo, -1, 0).astype(np.float32)
    plain = np.moveaxis(fitting.resize(planes, *large.shape[:2]), 0, -1).clip(0, 255)
    mixed = plain + sharpness * (large - plain)
    return np.asarray(mixed.round().astype(np.uint8))


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
