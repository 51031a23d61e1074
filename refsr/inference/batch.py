"""Many photos of one person: each enlarged into a folder, and continued after a kill."""

import csv
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refsr.curation.alignment import resample
from refsr.errors import RefsrError
from refsr.inference.images import (
    FORMATS,
    READ,
    description,
    is_own_image,
    output_format,
    read_image,
    write_image,
)
from refsr.inference.photo import EnlargedPhoto, enlarge
from refsr.inference.portraits import Portrait
from refsr.inference.restoration import FaceModel
from refsr.io.files import file_hash
from refsr.io.output import check_file
from refsr.io.paths import file_errors_as_messages
from refsr.progress import track
from refsr.version import __version__

FAILED = "failed.csv"
_HEADER = "photo,reason"
_UNREAD = (".bmp", ".gif", ".tif", ".tiff", ".jp2", ".jxl", ".dng", ".cr2", ".nef", ".arw")
_MOST_REFERENCES = 16
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A photo and where its enlargement goes."""

    photo: Path
    output: Path


def jobs(photos: Sequence[Path], output: Path) -> list[Job]:
    """Which file each photo becomes.

    Args:
        photos: Image files, and folders of which all images are taken.
        output: A file for one photo; else a folder, where each becomes NAME.png.

    Raises:
        RefsrError: A folder holds no image, two photos have one name, many go into one file, or
            that of one has an unknown format.
    """
    files = list({path.resolve(): path for path in images_of(photos)}.values())  # each once
    is_one = len(files) == 1 and not photos[0].is_dir()
    if is_one and not output.is_dir() and output.suffix:
        output_format(output)
        return [Job(files[0], output)]
    if output.suffix.lower() in FORMATS and not output.is_dir():
        raise RefsrError(f"{output}: is one file for {len(files)} photos; name a folder with -o")
    names: dict[str, Path] = {}
    for path in files:
        if path.stem in names:
            raise RefsrError(f"{path}: {names[path.stem]} has the same name; rename one of them")
        names[path.stem] = path
    return [Job(path, output / f"{name}.png") for name, path in names.items()]


def check_outputs(
    todo: Sequence[Job],
    output: Path,
    inputs: Iterable[tuple[str, Path]],
    *,
    sheets: bool = False,
) -> None:
    """Check that every output may be written; a missing folder is made.

    Args:
        todo: The photos and their outputs.
        output: The file, or the folder of them.
        inputs: What else is read, each after the option that names it.
        sheets: Whether each has a sheet beside it.

    Raises:
        RefsrError: See `refsr.io.output.check_file`.
    """
    given = [("PHOTO", job.photo) for job in todo] + list(inputs)
    if todo[0].output != output:
        with file_errors_as_messages():
            output.mkdir(parents=True, exist_ok=True)
    if len(todo) > 1:
        check_file(output / FAILED, given, _is_list_of_failures)
    for job in todo:
        check_file(job.output, given, is_own_image)
        if sheets:
            check_file(_sheet_of(job), given, is_own_image)


def _is_list_of_failures(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_HEADER) + 1) == f"{_HEADER}\n".encode()


def images_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The image files that these paths name; of a folder all, sorted by name.

    A warning names images of a folder whose format is not read.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(each for each in path.iterdir() if each.suffix.lower() in READ)
        if not inside:
            raise RefsrError(f"{path}: no {', '.join(READ)} image in this folder")
        others = sorted(each.name for each in path.iterdir() if each.suffix.lower() in _UNREAD)
        if others:
            _logger.warning("%s: left out, their format is not read: %s", path, ", ".join(others))
        yield from inside


def references_of(paths: Sequence[Path]) -> list[Path]:
    """The files of references. Raises RefsrError for more than can be used."""
    files = list(images_of(paths))
    if len(files) > _MOST_REFERENCES:
        raise RefsrError(
            f"{len(files)} references; at most {_MOST_REFERENCES} are used: choose the sharpest"
        )
    return files


def recipe(model: str, references: Sequence[Path], options: dict[str, Any]) -> str:
    """What an output depends on besides its photo; `model` is the digest of its checkpoint."""
    parts = [__version__, model, *map(file_hash, references), json.dumps(options, sort_keys=True)]
    return " ".join(parts)


def upscale_all(
    model: FaceModel,
    todo: Sequence[Job],
    portraits: Sequence[Portrait],
    options: dict[str, Any],
    recipe: str,
    *,
    sheets: bool = False,
) -> list[dict[str, Any]]:
    """Enlarge every photo; whatever one does, the others are done.

    An output that is there from the same photo and recipe is kept.

    Args:
        model: See `enlarge`.
        todo: The photos.
        portraits: See `enlarge`.
        options: Of `enlarge`.
        recipe: What stands for model, references and options.
        sheets: Also write NAME.sheet.png: the photo by a plain filter, the result, references.

    Returns:
        For each photo that was enlarged: photo, output, scale, faces, notes. Each that failed has
        a row in failed.csv beside the outputs.

    Raises:
        RefsrError: None is left; for one photo, what is wrong with it.
    """
    results, failures = [], []
    for job in track(todo, total=len(todo), desc="upscaled", unit="photo"):
        try:
            results.append(_upscale_one(model, job, portraits, options, recipe, sheets=sheets))
        except Exception as error:
            if len(todo) == 1:
                raise
            failures.append((str(job.photo), reason(job.photo, error)))
            _logger.warning("%s", failures[-1][1])
    if len(todo) > 1:
        _write_failures(todo[0].output.parent / FAILED, failures)
    if not results:
        raise RefsrError(f"none of {len(todo)} photos was enlarged; the first: {failures[0][1]}")
    return results


def _upscale_one(
    model: FaceModel,
    job: Job,
    portraits: Sequence[Portrait],
    options: dict[str, Any],
    recipe: str,
    *,
    sheets: bool,
) -> dict[str, Any]:
    with file_errors_as_messages():
        source = hashlib.sha256(f"{recipe} {file_hash(job.photo)}".encode()).hexdigest()
    known, sheet = _known(job.output), _sheet_of(job)
    if known.get("source") == source and (not sheets or sheet.is_file()):
        return known | {"photo": str(job.photo), "output": str(job.output)}
    photo = read_image(job.photo)
    try:
        result = enlarge(model, photo, portraits, **options)
    except RefsrError as error:
        raise RefsrError(f"{job.photo}: {error}") from error
    facts = {
        "source": source,
        "scale": round(result.scale, 3),
        "faces": [asdict(face) for face in result.faces],
        "notes": list(result.notes),
    }
    if sheets:
        write_image(sheet, _sheet(photo, result, portraits), " ".join(result.notes))
    write_image(job.output, result.image, json.dumps(facts))
    return facts | {"photo": str(job.photo), "output": str(job.output)}


def _sheet_of(job: Job) -> Path:
    return job.output.with_suffix(".sheet.png")


def _known(output: Path) -> dict[str, Any]:
    """The facts that an earlier run wrote into its output."""
    try:
        facts = json.loads(description(output))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _sheet(photo: np.ndarray, result: EnlargedPhoto, portraits: Sequence[Portrait]) -> np.ndarray:
    """The photo by a plain filter, the result and the references, side by side."""
    height, width = result.image.shape[:2]
    tiles = [resample(photo, width, height), result.image]
    tiles += [resample(each.pixels, height, height) for each in portraits]
    return np.concatenate(tiles, axis=1)


def _write_failures(path: Path, failures: Sequence[tuple[str, str]]) -> None:
    """A row for each photo that failed; no file where none did."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_HEADER.split(","))
        rows.writerows(failures)


def reason(path: Path, error: Exception) -> str:
    """In one line what is wrong with a photo, in the words of the reader where it knew."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RefsrError) else f"{path}: {type(error).__name__}: {text}"
