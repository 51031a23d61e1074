"""Extract features of many images: one identity at a time, in as many processes as there are cores.

Features of an identity depend only on its own files and on the parameters. They are the same to the
bit for any number of processes and any other identities. Pixels stay in the process that decoded
them, or go to the disk.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation import alignment, crash_journal, selection
from refsr.curation.decoding import Reject
from refsr.curation.detection import CHIP_BATCH, Detection, Embed, FindFaces, remembering
from refsr.curation.feature_columns import ImageFeatures, join
from refsr.curation.image_features import extract_features
from refsr.curation.workers import in_processes
from refsr.io import files as io_files
from refsr.io.files import Extent
from refsr.io.own_files import Checksum
from refsr.layouts.base import BOX, LANDMARKS


class Detector(NamedTuple):
    """Finds faces in images and returns the probability that a chip shows one."""

    find: FindFaces
    probability: Callable[[np.ndarray], np.ndarray]  # (N, 150, 150, 3) uint8 RGB -> (N,)


_PLAIN_NAME = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)
# The input for which an embedding's length is read where no image has a chip.
_BLANK_CHIP = np.zeros((1, alignment.CHIP, alignment.CHIP, 3), np.uint8)


class Job(NamedTuple):
    """An identity whose features are to be extracted."""

    images: pd.DataFrame  # at least one row: identity, source, sex, x ... h, p1x ... p5y
    extents: list[Extent]  # of their files
    boxed: bool  # whether the raw set has boxes; if not, faces are detected


@dataclass(frozen=True)
class IdentityFeatures:
    """Features of the N images of an identity.

    Images with a `reason` are rejected: their thumbnail is black and their embedding NaN.
    """

    columns: dict[str, np.ndarray]  # those of Job.images and ImageFeatures; crop: index or -1
    thumbs: np.ndarray  # those of ImageFeatures
    embeddings: np.ndarray  # (N, D) float32
    crops: Checksum | None = None  # of the file of its crops, if there is one

    def __len__(self) -> int:
        return len(self.thumbs)


def extract(
    jobs: Iterable[Job],
    folder: Path,
    embed: Embed,
    params: Curate,
    workers: int,
    detector: Detector | None = None,
) -> Iterator[IdentityFeatures]:
    """Extract the features of each identity, in the order of `jobs`.

    Args:
        jobs: The identities.
        folder: Receives the crops, see `crops_file`, and the crash journal.
        embed: The identity network; can be pickled if `workers` is above 1.
        params: The section `curate`.
        workers: Processes; 1 is this very process.
        detector: Detects faces where the raw set has no boxes, and rejects chips that show no
            face; can be pickled if `workers` is above 1.

    Raises:
        RefsrError: A file cannot be read, or a worker was killed.
    """
    journal = crash_journal.Journal(folder)
    journal.recover()
    extract_one = partial(
        extract_identity,
        folder=folder,
        embed=embed,
        params=params,
        detector=detector,
        fatal=journal.fatal_images(),
    )
    return in_processes(extract_one, jobs, workers, journal)


def extract_identity(
    job: Job,
    folder: Path,
    embed: Embed,
    params: Curate,
    detector: Detector | None = None,
    fatal: frozenset[str] = frozenset(),
) -> IdentityFeatures:
    """Extract the features of an identity and write its crops into `folder`.

    The process that has the pixels writes them: passing them to another one takes longer.

    Args:
        job: The identity.
        folder: Receives the crops, see `crops_file`.
        embed: The identity network.
        params: The section `curate`.
        detector: See `extract`.
        fatal: Sources at which a process was killed before; they are rejected.

    Raises:
        RefsrError: A file cannot be read.
    """
    features, crops = features_and_crops(job, embed, params, detector, fatal)
    identity = str(job.images["identity"].iloc[0])
    with crops_file(folder, identity).open("wb") as file:
        file.writelines(crop.data for crop in crops)
    code = reduce(lambda before, crop: zlib.crc32(crop.data, before), crops, 0)
    return replace(features, crops=[sum(crop.nbytes for crop in crops), code])


def crops_file(folder: Path, identity: str) -> Path:
    """The file with the crops of an identity's candidates: their pixels, one after another.

    A name that is long, or not plain lower-case ASCII, is replaced by its hash: not every file
    system stores it, or tells it from the same name in other case.
    """
    plain = _PLAIN_NAME.fullmatch(identity)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    name = identity if plain else f"={digest[:32]}"
    return folder / f"{name}.crops"


def features_and_crops(
    job: Job,
    embed: Embed,
    params: Curate,
    detector: Detector | None = None,
    fatal: frozenset[str] = frozenset(),
) -> tuple[IdentityFeatures, list[np.ndarray]]:
    """Extract an identity's features, and the crops of its candidates.

    Args:
        job, embed, params, detector, fatal: See `extract_identity`.

    Returns:
        The features, and a crop (hr_size, hr_size, 3) uint8 RGB per candidate.

    Raises:
        RefsrError: A file cannot be read.
    """
    finder = None
    if detector and not job.boxed:
        embed = remembering(embed)
        finder = Detection(detector.find, embed)
    features = _image_features(job, params, finder, fatal)
    crash_journal.begin("")
    if detector:
        _reject_no_faces(features, detector, params.min_face_probability)
    embeddings = _embed(features, embed)
    # Plain arrays: making a table of so few rows is slow.
    columns = {str(column): job.images[column].to_numpy() for column in job.images}
    columns |= features.columns
    chosen = _candidates(columns, embeddings, params)
    columns["crop"] = np.full(len(embeddings), -1)
    columns["crop"][chosen] = np.arange(len(chosen))
    crops = [features.crops[row] for row in chosen.tolist()]
    return IdentityFeatures(columns, features.thumbs, embeddings), crops


def _image_features(
    job: Job,
    params: Curate,
    finder: Detection | None,
    fatal: frozenset[str],
) -> ImageFeatures:
    """Features of the job's images, read a portion at a time."""
    boxes = job.images[list(BOX)].to_numpy(np.float64)
    points = job.images[list(LANDMARKS)].to_numpy(np.float64).reshape(-1, 5, 2)
    sources = job.images["source"].tolist()
    parts = []
    for rows in io_files.portions(job.extents):
        begin, fatal_rows = _journal_of(sources[rows], fatal)
        files = io_files.read_all(job.extents[rows])
        part = extract_features(files, boxes[rows], points[rows], params, finder, begin, fatal_rows)
        parts.append(part)
        del files  # before the next portion is read
    return parts[0] if len(parts) == 1 else join(parts)


def _journal_of(
    sources: list[str],
    fatal: frozenset[str],
) -> tuple[Callable[[int], None], list[int]]:
    """The function that notes an image, by its row, in the journal; and the fatal rows."""
    rows = [row for row, source in enumerate(sources) if source in fatal]
    return lambda row: crash_journal.begin(sources[row]), rows


def _candidates(
    columns: dict[str, np.ndarray],
    embeddings: np.ndarray,
    params: Curate,
) -> np.ndarray:
    """Rows of the images whose crops are kept."""
    usable = np.flatnonzero(columns["reason"] == "")
    if not len(usable):
        return usable
    group = {name: columns[name][usable] for name in selection.RANKED}
    return np.asarray(usable[selection.candidates(group, embeddings[usable], params)])


def _reject_no_faces(features: ImageFeatures, detector: Detector, least: float) -> None:
    """Fill in the probability of a face; reject images below `least`."""
    detail = f"a face is less probable than {least:g}: none, or hidden"
    for rows in _batches([*features.chips]):
        values = detector.probability(_chips(features, rows))
        for row, value in zip(rows, values, strict=True):
            features.columns["face_probability"][row] = value
            if value < least:
                features.reject(row, Reject("no_face", float(value), detail))


def _embed(features: ImageFeatures, embed: Embed) -> np.ndarray:
    """Embeddings (N, D) float32; NaN for images without a chip."""
    faces = [*features.chips]
    embedded = [embed(_chips(features, rows)) for rows in _batches(faces)]
    size = (embedded or [embed(_BLANK_CHIP)])[0].shape[1]
    embeddings = np.full((len(features.thumbs), size), np.nan, np.float32)
    embeddings[faces] = np.concatenate([np.empty((0, size), np.float32), *embedded])
    return embeddings


def _batches(rows: list[int]) -> list[list[int]]:
    return [rows[at : at + CHIP_BATCH] for at in range(0, len(rows), CHIP_BATCH)]


def _chips(features: ImageFeatures, rows: list[int]) -> np.ndarray:
    return np.stack([features.chips[row] for row in rows])
