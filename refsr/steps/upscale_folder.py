"""Step `upscale_folder`: a folder of small faces and references -> a folder of larger faces."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from refsr.config import UpscaleFolder
from refsr.errors import RefsrError
from refsr.inference.images import FORMATS, read_image, write_image
from refsr.inference.upscaler import upscale
from refsr.models.checkpoint import load_model
from refsr.steps import Input, Output
from refsr.tracker import Tracker
from refsr.training.precision import choose_device


def upscale_folder(
    params: UpscaleFolder, tracker: Tracker, *, refsr: Input, pairs: Input, upscaled: Output
) -> dict[str, float]:
    """Write NAME.png for each pairs/small/NAME.*, by the reference pairs/ref/NAME.* where there is one.

    An image that cannot be read is left out, with its reason in rejects.csv. Raises RefsrError where none is left.
    """
    model = load_model(refsr / "model.safetensors").to(choose_device(params.device))
    small, references = _images(pairs / "small"), _images(pairs / "ref")
    if not small:
        raise RefsrError(f"{pairs / 'small'}: no JPEG, PNG or WebP image here; small faces belong there as NAME.png")
    upscaled.mkdir()
    rejects = []
    for name, path in tqdm(small.items(), desc="upscale_folder", unit="image", mininterval=2):
        try:
            reference = read_image(references[name]) if name in references else None
            write_image(upscaled / f"{name}.png", upscale(model, read_image(path), reference))
        except RefsrError as error:
            rejects.append({"name": name, "reason": str(error)})
    pd.DataFrame(rejects, columns=["name", "reason"]).to_csv(upscaled / "rejects.csv", index=False)
    if len(rejects) == len(small):
        raise RefsrError(f"{pairs}: none of {len(small)} images could be upscaled; the first: {rejects[0]['reason']}")
    tracker.artifact(upscaled / "rejects.csv")
    alone = sum(name not in references for name in small)
    return {"images": float(len(small)), "rejects": float(len(rejects)), "without_reference": float(alone)}


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their name without ending; a name that two files share is refused."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in FORMATS:
            continue
        if path.stem in found:
            raise RefsrError(f"{path}: {found[path.stem].name} has the same name; which belongs to {path.stem}?")
        found[path.stem] = path
    return found
