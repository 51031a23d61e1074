"""A loaded model for programs: NumPy images in, NumPy images out. It needs no PyTorch by itself."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from refsr.errors import RefsrError
from refsr.face_crops import LANDMARKS, USUAL
from refsr.inference import fitting, options
from refsr.inference.arrays import References, batch, checked, image_of, listed
from refsr.inference.options import Options

if TYPE_CHECKING:
    from refsr.inference.photo import EnlargedPhoto

# photos (B, h, w, 3) and of each as many references, uint8 RGB -> the larger faces, likewise
Run = Callable[[np.ndarray, Sequence[Sequence[np.ndarray]], Options], np.ndarray]
# a photo and its references -> how well each reference fits
Rate = Callable[[np.ndarray, Sequence[np.ndarray]], list[float | None]]

_BATCH = 16  # photos that the network takes at once


class CropOptions(TypedDict, total=False):
    """See `Upscaler.upscale`."""

    sharpness: float
    temperature: float
    fidelity: float
    seed: int
    device: str | None


class PhotoChoices(TypedDict, total=False):
    """See `refsr.inference.options.PhotoOptions`."""

    scale: float | None
    sharpness: float
    all_faces: bool
    crop: bool
    drop_misfits: bool
    fidelity: float
    temperature: float
    seed: int


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
    def from_checkpoint(cls, path: Path, device: str = "cpu", realism: float = 0.0) -> "Upscaler":
        """The model of a checkpoint file; raised, see `refsr.models.checkpoint.load_model`."""
        from refsr.inference.upscaler import compatibility, upscale_by
        from refsr.models.checkpoint import load_model, read_header

        network = load_model(path, device, realism)
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

    @overload
    def upscale(
        self, photo: np.ndarray, *references: References, **options: Unpack[CropOptions]
    ) -> np.ndarray: ...

    @overload
    def upscale(
        self,
        photo: Sequence[np.ndarray],
        *references: References | Sequence[References],
        **options: Unpack[CropOptions],
    ) -> list[np.ndarray]: ...

    def upscale(
        self,
        photo: np.ndarray | Sequence[np.ndarray],
        *references: References | Sequence[References],
        sharpness: float = 1.0,
        temperature: float = 0.0,
        fidelity: float = 0.0,
        seed: int = 0,
        device: str | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Make crops of small faces larger. For whole photos there is `upscale_photo`.

        Args:
            photo: (h, w, 3) uint8 RGB, a crop of the face as in training; or a list of such crops.
                Those of one size are given to the network together.
            references: Each (H, W, 3) uint8 RGB, a crop of a good photo of the same person; of any
                size. Without one, the network does without. A list of them will do. They are those
                of every crop; a list of lists has those of each, in the order of the crops.
            sharpness: In [0, 1], the share of the network's detail; 0 is a plain filter.
            temperature: From 0 to 2: 0 gives the most likely face, 1 draws one of those that the
                network takes for possible.
            fidelity: In [0, 1], how strongly the result is held to the photo: 0 is the network's
                own output, 1 makes the result, reduced again, the photo.
            seed: Of what is drawn at a temperature above 0.
            device: "cpu", "cuda" or "auto": where it is run from now on; None: where it is.

        Returns:
            (h', w', 3) uint8 RGB with the proportions of `photo`; the longer side is `hr_size`. Of
            a list of crops a list of these.

        Raises:
            RefsrError: An image has another shape or dtype, an option is out of its range, or the
                model does not have it: references of a single-image model, a temperature of one
                that draws no samples or of an ONNX file.
        """
        photos, given = batch(photo, references, own=True)
        chosen = Options(temperature, seed, fidelity, device)
        options.require(chosen)
        options.require_range("sharpness", sharpness, 0, 1)
        if any(given) and not self.uses_reference:
            raise RefsrError("this is a single-image model (sisr): it takes no reference")
        larger = self._in_batches(photos, given, chosen)
        if sharpness != 1:
            pairs = zip(photos, larger, strict=True)
            larger = [_softened(small, large, sharpness) for small, large in pairs]
        return larger[0] if isinstance(photo, np.ndarray) else larger

    def _in_batches(
        self,
        photos: Sequence[np.ndarray],
        references: Sequence[Sequence[np.ndarray]],
        chosen: Options,
    ) -> list[np.ndarray]:
        """The larger faces; those of one size and as many references are made together.

        A sample is made alone, so that it depends on its seed and not on its neighbours.
        """
        alike = defaultdict[tuple[int, ...], list[int]](list)
        for at, (photo, given) in enumerate(zip(photos, references, strict=True)):
            alone = at if chosen.temperature else 0
            alike[*photo.shape, len(given), alone].append(at)
        made: dict[int, np.ndarray] = {}
        for places in alike.values():
            for part in (places[at : at + _BATCH] for at in range(0, len(places), _BATCH)):
                small = np.stack([photos[at] for at in part])
                made |= zip(
                    part, self._run(small, [references[at] for at in part], chosen), strict=True
                )
        return [made[at] for at in range(len(photos))]

    @overload
    def upscale_photo(
        self, photo: np.ndarray, *references: References, **options: Unpack[PhotoChoices]
    ) -> "EnlargedPhoto": ...

    @overload
    def upscale_photo(
        self, photo: Sequence[np.ndarray], *references: References, **options: Unpack[PhotoChoices]
    ) -> "list[EnlargedPhoto]": ...

    def upscale_photo(
        self,
        photo: np.ndarray | Sequence[np.ndarray],
        *references: References,
        **options: Unpack[PhotoChoices],
    ) -> "EnlargedPhoto | list[EnlargedPhoto]":
        """Enlarge a photo and restore the face in it that fits the references.

        Args:
            photo: (H, W, 3) uint8 RGB, or a list of such photos of the person.
            references: Each (H, W, 3) uint8 RGB, a good photo of the person.
            options: See refsr.inference.options.PhotoOptions.

        Returns:
            The photo and what was done to its faces; of a list of photos a list of these.

        Raises:
            RefsrError: As `upscale`, and where no face is detected in a photo.
        """
        photos, given = batch(photo, references)
        from refsr.inference.photo import upscale_photos

        done = upscale_photos(self, photos, given[0] if given else [], **options)
        return done[0] if isinstance(photo, np.ndarray) else done

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
            single-image model, the variants of the paper, and a training without validation people.

        Raises:
            RefsrError: An image has another shape or dtype.
        """
        small, given = image_of(photo, "photo"), checked(listed(references))
        return self._rate(small, given) if self._rate else [None] * len(given)


def _softened(photo: np.ndarray, large: np.ndarray, sharpness: float) -> np.ndarray:
    """A share of the network's detail over the photo by a plain bicubic filter."""
    planes: np.ndarray = np.moveaxis(photo, -1, 0).astype(np.float32)
    plain = np.moveaxis(fitting.resize(planes, *large.shape[:2]), 0, -1).clip(0, 255)
    mixed = plain + sharpness * (large - plain)
    return np.asarray(mixed.round().astype(np.uint8))
