"""Step `upscale_folder`: a folder of small faces and references -> a folder of larger faces."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from refsr.errors import RefsrError
from refsr.inference.batch import reason
from refsr.inference.images import READ, read_image, write_image
from refsr.inference.upscaler import compatibility, upscale
from refsr.models.checkpoint import load_model
from refsr.models.compatibility import MISFIT
from refsr.progress import track
from refsr.side_config import UpscaleFolder
from refsr.steps import Input, Output
from refsr.tracker import Tracker
from refsr.training.precision import choose_device

REJECTS, COMPATIBILITY = "rejects.csv", "compatibility.csv"


def upscale_folder(
    params: UpscaleFolder, tracker: Tracker, *, refsr: Input, pairs: Input, upscaled: Output
) -> dict[str, float]:
    """Write NAME.png for each pairs/small/NAME.*.

    The reference is pairs/ref/NAME.*, where there is one. Whatever one image does, the others are
    upscaled; rejects.csv has a row for each that failed, written as it fails. compatibility.csv has
    a row for each that had a reference: the probability that it shows the person of the small
    image, empty where the model does not say. Raises RefsrError where none is left.
    """
    device = choose_device(params.device)
    model = load_model(refsr / "model.safetensors", device, params.realism)
    small, references = _images(pairs / "small"), _images(pairs / "ref")
    if not small:
        raise RefsrError(
            f"{pairs / 'small'}: no JPEG, PNG or WebP image here; "
            "small faces belong there as NAME.png"
        )
    upscaled.mkdir()
    reasons: list[str] = []
    fits: list[float | None] = []
    with (
        _table(upscaled / REJECTS, "reason") as rejects,
        _table(upscaled / COMPATIBILITY, "compatibility") as scores,
    ):
        for name, path in track(small.items(), total=len(small), desc="upscaled", unit="image"):
            try:
                fit = _upscaled(model, path, references.get(name), upscaled / f"{name}.png")
            except Exception as error:
                reasons.append(reason(path, error))
                rejects(name, reasons[-1])
                continue
            if name in references:
                fits.append(fit)
                scores(name, "" if fit is None else f"{fit:.4f}")
    if len(reasons) == len(small):
        raise RefsrError(
            f"{pairs}: none of {len(small)} images could be upscaled; the first: {reasons[0]}"
        )
    for table in (REJECTS, COMPATIBILITY):
        tracker.artifact(upscaled / table)
    alone = sum(name not in references for name in small)
    return {
        "images": float(len(small)),
        "rejects": float(len(reasons)),
        "without_reference": float(alone),
        "misfits": float(sum(fit is not None and fit < MISFIT for fit in fits)),
    }


def _upscaled(model: nn.Module, path: Path, portrait: Path | None, output: Path) -> float | None:
    """Upscale one image; returns how well its reference fits, None where that is not known."""
    image = read_image(path)
    reference = None if portrait is None else read_image(portrait)
    write_image(output, upscale(model, image, reference))
    return None if reference is None else compatibility(model, image, [reference])[0]


@contextmanager
def _table(path: Path, column: str) -> Iterator[Callable[[str, str], None]]:
    """A CSV whose rows are on the disk as soon as they are written."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")

        def write(name: str, value: str) -> None:
            rows.writerow([name, value])
            file.flush()

        write("name", column)
        yield write


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their name without ending.

    A name that two files share is refused.
    """
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in READ:
            continue
        if path.stem in images:
            raise RefsrError(
                f"{path}: {images[path.stem].name} has the same name; which belongs to {path.stem}?"
            )
        images[path.stem] = path
    return images
