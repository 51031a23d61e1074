"""Many images measured, an identity at a time and in as many processes as there are cores.

What is measured of an identity hangs on its own files and the parameters alone, so that the numbers are the same to the
bit whoever measures it, after whom, and beside how many others. Pixels stay in the process that decoded them, or
go to the disk.
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
from refsr.curation import alignment, crash_journal
from refsr.curation.decoding import Reject
from refsr.curation.image_features import Find, Looks, join, measure_images
from refsr.curation.selection import RANKED, candidates
from refsr.curation.workers import in_processes
from refsr.io import files as io_files
from refsr.io.files import Extent
from refsr.io.own_files import Checksum
from refsr.layouts.base import BOX, LANDMARKS

Embed = Callable[[np.ndarray], np.ndarray]  # (N, 150, 150, 3) uint8 RGB -> (N, D) float32


class Detector(NamedTuple):
    """Finds faces, and tells how sure it is of one."""

    find: Find
    certainty: Callable[[np.ndarray], np.ndarray]  # (N, 150, 150, 3) uint8 RGB -> (N,) probability of a face


_PLAIN_NAME = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)
_EMBEDDED = 32  # chips given to the network at once
_NO_CHIPS = np.zeros((1, alignment.CHIP, alignment.CHIP, 3), np.uint8)  # shown to learn how long an embedding is


class Job(NamedTuple):
    """An identity to be measured."""

    images: pd.DataFrame  # (at least one row; columns identity, source, sex, x ... h, p1x ... p5y)
    extents: list[Extent]  # of their files
    boxed: bool  # whether the raw set tells of boxes at all; where not, faces are looked for


@dataclass(frozen=True)
class Measured:
    """N images of an identity; those whose `reason` is not empty have no thumbnail or embedding."""

    columns: dict[str, np.ndarray]  # what was told of the images, and `Looks.facts`; crop: place in the file, or -1
    thumbs: np.ndarray  # (N, 32, 32) uint8, of the whole images
    embeddings: np.ndarray  # (N, D) float32
    crops: Checksum | None = None  # of the file of its crops; None where there is none

    def __len__(self) -> int:
        return len(self.thumbs)


def measure(
    jobs: Iterable[Job], folder: Path, embed: Embed, params: Curate, workers: int, detector: Detector | None = None
) -> Iterator[Measured]:
    """What is measured of each identity, in the order of the jobs; the crops go into `folder`, see `crops_file`.

    The detector, if there is one, is asked whether faces are faces, and for those of sets without box files where they
    are. It and `embed` can be pickled if `workers` is above 1.
    """
    journal = crash_journal.Journal(folder)
    journal.recover()
    look = partial(
        measure_identity, folder=folder, embed=embed, params=params, detector=detector, deadly=journal.deadly()
    )
    return in_processes(look, jobs, workers, journal)


def measure_identity(
    job: Job,
    folder: Path,
    embed: Embed,
    params: Curate,
    detector: Detector | None = None,
    deadly: frozenset[str] = frozenset(),
) -> Measured:
    """The images of an identity with what was measured, and `reason`, `value` and `detail` of those left out.

    Pixels are written here, by whoever has them: to hand them to another process would take longer.
    """
    measured, crops = look_at(job, embed, params, detector, deadly)
    with crops_file(folder, str(job.images["identity"].iloc[0])).open("wb") as file:
        file.writelines(crop.data for crop in crops)
    code = reduce(lambda before, crop: zlib.crc32(crop.data, before), crops, 0)
    return replace(measured, crops=[sum(crop.nbytes for crop in crops), code])


def crops_file(folder: Path, identity: str) -> Path:
    """Where the crops of the identity's candidates are kept: their pixels one after another, nothing else.

    A name that is long, or differs from another's in case alone, is no file's name everywhere: its hash is.
    """
    plain = _PLAIN_NAME.fullmatch(identity)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return folder / f"{identity if plain else f'={digest[:32]}'}.crops"


def look_at(
    job: Job,
    embed: Embed,
    params: Curate,
    detector: Detector | None = None,
    deadly: frozenset[str] = frozenset(),
) -> tuple[Measured, list[np.ndarray]]:
    """What is measured of an identity, and the crops of its candidates: (hr_size, hr_size, 3) uint8 RGB each."""
    boxes = job.images[list(BOX)].to_numpy(np.float64)
    points = job.images[list(LANDMARKS)].to_numpy(np.float64).reshape(-1, 5, 2)
    find = detector.find if detector and not job.boxed else None
    sources = job.images["source"].tolist()
    parts = []
    for rows in io_files.portions(job.extents):
        begin, refused = _note_of(sources[rows], deadly)
        files = io_files.read_all(job.extents[rows])
        parts.append(measure_images(files, boxes[rows], points[rows], params, find, begin, refused))
        del files  # before the next are read
    looks = parts[0] if len(parts) == 1 else join(parts)
    crash_journal.begin("")
    if detector:
        _leave_out_faceless(looks, detector, params.min_face_probability)
    embeddings = _embed(looks, embed)
    # No table yet, since to make one of so few rows costs.
    columns = {str(column): job.images[column].to_numpy() for column in job.images} | looks.facts
    chosen = _candidates(columns, embeddings, params)
    columns["crop"] = np.full(len(embeddings), -1)
    columns["crop"][chosen] = np.arange(len(chosen))
    return Measured(columns, looks.thumbs, embeddings), [looks.crops[row] for row in chosen.tolist()]


def _note_of(sources: list[str], deadly: frozenset[str]) -> tuple[Callable[[int], None], list[int]]:
    """What is called before each of these images is decoded, and the rows of those to leave out."""
    refused = [row for row, source in enumerate(sources) if source in deadly]
    return lambda row: crash_journal.begin(sources[row]), refused


def _candidates(columns: dict[str, np.ndarray], embeddings: np.ndarray, params: Curate) -> np.ndarray:
    """The rows whose crops are kept."""
    usable = np.flatnonzero(columns["reason"] == "")
    if not len(usable):
        return usable
    group = {name: columns[name][usable] for name in RANKED}
    return np.asarray(usable[candidates(group, embeddings[usable], params)])


def _leave_out_faceless(looks: Looks, detector: Detector, least: float) -> None:
    for rows in _batches([*looks.chips]):
        for row, sure in zip(rows, detector.certainty(_chips(looks, rows)), strict=True):
            looks.facts["face_probability"][row] = sure
            if sure < least:
                detail = f"a face is less probable than {least:g}: none, or hidden"
                looks.leave_out(row, Reject("no_face", float(sure), detail))


def _embed(looks: Looks, embed: Embed) -> np.ndarray:
    """(N, D), NaN where there is no face."""
    faces = [*looks.chips]
    embedded = [embed(_chips(looks, rows)) for rows in _batches(faces)]
    size = (embedded or [embed(_NO_CHIPS)])[0].shape[1]
    embeddings = np.full((len(looks.thumbs), size), np.nan, np.float32)
    embeddings[faces] = np.concatenate([np.empty((0, size), np.float32), *embedded])
    return embeddings


def _batches(rows: list[int]) -> list[list[int]]:
    return [rows[at : at + _EMBEDDED] for at in range(0, len(rows), _EMBEDDED)]


def _chips(looks: Looks, rows: list[int]) -> np.ndarray:
    return np.stack([looks.chips[row] for row in rows])
