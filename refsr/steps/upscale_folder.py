"""Step `upscale_folder`: a folder of small faces and references -> a folder of larger faces."""

import csv
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference.batch import reason
from refsr.inference.images import READ, read_image, write_image
from refsr.inference.upscaler import upscale
from refsr.models.checkpoint import load_model
from refsr.progress import track
from refsr.side_config import UpscaleFolder
from refsr.steps import Input, Output
from refsr.tracker import Tracker
from refsr.training.precision import choose_device


def upscale_folder(
    params: UpscaleFolder, tracker: Tracker, *, refsr: Input, pairs: Input, upscaled: Output
) -> dict[str, float]:
    """Write NAME.png for each pairs/small/NAME.*.

    The reference is pairs/ref/NAME.*, where there is one. Whatever one image does, the others are
    upscaled; rejects.csv has a row for each that failed, written as it fails. Raises RefsrError
    where none is left.
    """
    model = load_model(refsr / "model.safetensors").to(choose_device(params.device))
    small, references = _images(pairs / "small"), _images(pairs / "ref")
    if not small:
        raise RefsrError(
            f"{pairs / 'small'}: no JPEG, PNG or WebP image here; "
            "small faces belong there as NAME.png"
        )
    upscaled.mkdir()
    reasons = []
    with (upscaled / "rejects.csv").open("w", newline="", encoding="utf-8") as file:
        rejects = csv.writer(file, lineterminator="\n")
        rejects.writerow(["name", "reason"])
        for name, path in track(small.items(), total=len(small), desc="upscaled", unit="image"):
            try:
                reference = read_image(references[name]) if name in references else None
                write_image(upscaled / f"{name}.png", upscale(model, read_image(path), reference))
            except Exception as error:
                reasons.append(reason(path, error))
                rejects.writerow([name, reasons[-1]])
                file.flush()
    if len(reasons) == len(small):
        raise RefsrError(
            f"{pairs}: none of {len(small)} images could be upscaled; the first: {reasons[0]}"
        )
    tracker.artifact(upscaled / "rejects.csv")
    alone = sum(name not in references for name in small)
    return {
        "images": float(len(small)),
        "rejects": float(len(reasons)),
        "without_reference": float(alone),
    }


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
