"""Write the rendered raw set in VGGFace2's layout, with the quirks of its metadata.

A set with scenes has a folder per person and no metadata but planted_defects.csv.

raw/
  train/nXXXXXX/IIII_FF.jpg, test/...
  identity_meta.csv
  bb_landmark/loose_bb_{train,test}.csv, loose_landmark_{train,test}.csv
  planted_defects.csv     path,kind,detail: the ground truth of the planted defects
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from refsr.config import Synthesize
from refsr.progress import Progress
from refsr.synthetic.defects import beside, decode, encode, no_face, spoil_picture
from refsr.synthetic.people import person, view
from refsr.synthetic.plan import Folder, Shot, plan
from refsr.synthetic.render import Model, Picture, model, render

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Written:
    """A folder and its ground truth: (box, landmarks) per shot."""

    folder: Folder
    truth: tuple[tuple[np.ndarray, np.ndarray], ...]


def write_raw(params: Synthesize, raw: Path, workers: int | None = None) -> list[Folder]:
    """Render a raw set into the folder `raw`.

    The bytes depend only on `params`, not on the number of workers.

    Returns:
        The folders of the set, in the order of their names.
    """
    folders = plan(params)
    for folder in folders:
        (raw / folder.split / folder.identity).mkdir(parents=True, exist_ok=True)
    total = sum(len(folder.shots) for folder in folders)
    written = []
    with Progress(total=total, desc="rendered", unit="image") as progress:
        for done in _written(folders, raw, workers or os.cpu_count() or 1):
            written.append(done)
            progress.update(len(done.truth))
    _write_metadata(params, raw, written)
    return folders


def _written(folders: Sequence[Folder], raw: Path, workers: int) -> Iterator[Written]:
    jobs = [(folder, raw) for folder in folders]
    if workers == 1:
        yield from map(_write_folder, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_folder, jobs, chunksize=1)


def _write_folder(job: tuple[Folder, Path]) -> Written:
    folder, raw = job
    cv2.setNumThreads(1)
    truth = []
    for shot in folder.shots:
        rng = np.random.default_rng([104, folder.person, int(shot.name[:4])])
        picture = spoil_picture(_picture(shot, rng), shot, rng)
        path = raw / folder.split / folder.identity / f"{shot.name}.jpg"
        path.write_bytes(encode(picture.image, shot.quality, shot.kind, rng))
        truth.append((picture.box, picture.landmarks))
    return Written(folder, tuple(truth))


@lru_cache(maxsize=2)  # the person of a folder, and another person in it
def _model(seed: int) -> Model:
    return model(seed)


def _picture(shot: Shot, rng: np.random.Generator) -> Picture:
    drawn = shot.original or shot
    if shot.kind == "no_face":
        return no_face(view(drawn.view, person(drawn.person)), drawn.frame, rng)
    built = _model(drawn.person)
    picture = render(built, view(drawn.view, built.who, drawn.frontal), drawn.frame)
    if shot.kind == "bystander":
        side, seed = shot.detail.split()
        other = model(int(seed))
        bystander = render(other, view(drawn.view, other.who), drawn.frame).image
        return replace(picture, image=beside(picture.image, bystander, side))
    return picture


def _write_metadata(params: Synthesize, raw: Path, written: Sequence[Written]) -> None:
    if not params.scenes:
        _write_boxes(raw, written)
        _write_lines(raw / "identity_meta.csv", _identity_lines(written))
    planted = [
        f"{w.folder.split}/{w.folder.identity}/{shot.name}.jpg,{shot.kind},{shot.detail}"
        for w in written
        for shot in w.folder.shots
        if shot.kind
    ]
    _write_lines(raw / "planted_defects.csv", ["path,kind,detail", *planted])


def _write_boxes(raw: Path, written: Sequence[Written]) -> None:
    boxes = raw / "bb_landmark"
    boxes.mkdir()
    for split in SPLITS:
        chosen = [w for w in written if w.folder.split == split]
        _write_lines(boxes / f"loose_bb_{split}.csv", ["NAME_ID,X,Y,W,H", *_box_lines(chosen)])
        columns = ",".join(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")
        lines = [f"NAME_ID,{columns}", *_landmark_lines(chosen)]
        _write_lines(boxes / f"loose_landmark_{split}.csv", lines)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _box_lines(written: Sequence[Written]) -> Iterator[str]:
    for w in written:
        for shot, (box, _) in zip(w.folder.shots, w.truth, strict=True):
            values = ",".join(str(round(float(v))) for v in box)
            yield f'"{w.folder.identity}/{shot.name}",{values}'


def _landmark_lines(written: Sequence[Written]) -> Iterator[str]:
    for w in written:
        for shot, (_, marks) in zip(w.folder.shots, w.truth, strict=True):
            values = ",".join(f"{v:.5f}" for v in marks.ravel())
            yield f'"{w.folder.identity}/{shot.name}",{values}'


def _identity_lines(written: Sequence[Written]) -> list[str]:
    """As published: some spaces after commas, some extra commas, and a name with a comma."""
    lines = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    for n, w in enumerate(written):
        who = person(w.folder.person)
        name = f"Rendered_{n:04d},_Jr." if n == len(written) // 2 else f"Rendered_{n:04d}"
        flag, sex = int(w.folder.split == "train"), "m" if who.male else "f"
        tail = "," if n % 7 == 0 else ""
        lines.append(f'{w.folder.identity}, "{name}",{len(w.folder.shots)},{flag}, {sex}{tail}')
    return lines


def contact_sheet(
    raw: Path,
    folders: Sequence[Folder],
    rows: int = 8,
    columns: int = 8,
    side: int = 96,
) -> np.ndarray:
    """Show sound images of the first identities, a row for each.

    Args:
        raw: The folder of the raw set.
        folders: The folders of the set.
        rows: Number of identities.
        columns: Number of images of an identity.
        side: Side of an image in the sheet, pixels.

    Returns:
        (rows * side, columns * side, 3) uint8 RGB.
    """
    sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
    for i, folder in enumerate(folders[:rows]):
        for j, shot in enumerate([shot for shot in folder.shots if not shot.kind][:columns]):
            image = decode((raw / folder.split / folder.identity / f"{shot.name}.jpg").read_bytes())
            cut = min(image.shape[:2])
            top, left = (image.shape[0] - cut) // 2, (image.shape[1] - cut) // 2
            small = cv2.resize(
                image[top : top + cut, left : left + cut],
                (side, side),
                interpolation=cv2.INTER_AREA,
            )
            sheet[i * side : (i + 1) * side, j * side : (j + 1) * side] = small
    return sheet
