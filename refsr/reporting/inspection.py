"""A curated set on one page: its people, its distributions, and what was left out and why."""

import tempfile
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from refsr.curation import decoding
from refsr.dataset.anonymous import Names
from refsr.dataset.curated import Curated
from refsr.dataset.schema import REASONS, REJECTS, SPLITS
from refsr.errors import RefsrError
from refsr.io import marker, own_files, pictures, sources
from refsr.layouts.base import BOX
from refsr.layouts.registry import needed
from refsr.layouts.tree import Tree
from refsr.reporting import page
from refsr.reporting.inspection_tables import counts, histograms, reasons

IDENTITIES = 12  # of each split on its contact sheet
IMAGES = 8  # of each identity
EXAMPLES = 8  # of each reason
THUMB = 160  # longer side of a thumbnail of a raw image, pixels
_COPY_OF = "copy of "
_FRAME = (255, 176, 0)


@dataclass(frozen=True)
class Picture:
    """An image with its title; where there is none to show, `problem` says why."""

    title: str
    image: np.ndarray | None  # (H, W, 3) uint8 RGB
    problem: str = ""


@dataclass(frozen=True)
class Person:
    """An identity on the contact sheet; its reference is the first picture."""

    identity: str
    images: int
    sex: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Example:
    """An image left out, beside its original or the reference of its folder."""

    source: str
    value: float
    pictures: list[Picture]


def write(curated: Path, output: Path, raw: str | Path | None = None) -> None:
    """Write the page of a curated folder; with the raw set it was made from, rejects are shown.

    Raises RefsrError where one of them is not what it should be, or the page cannot be written.
    """
    inputs = {"--curated": curated} | (
        {"--raw": Path(raw)} if raw and not str(raw).startswith("s3://") else {}
    )
    page.check(output, inputs.items())
    marker.require_whole(curated)
    page.save(inspect(Curated(curated), raw), output)


def inspect(curated: Curated, raw: str | Path | None) -> str:
    """The page, its images inside it."""
    rejects, summary = _rejects(curated.folder), _summary(curated.folder)
    layout = str(summary.get("layout", "vggface2"))
    manifest = curated.table
    splits = {name: manifest[manifest["split"] == name] for name in SPLITS}
    return page.render(
        "inspection.html",
        hr_size=curated.hr_size,
        kept=len(manifest),
        left_out=len(rejects),
        identities=manifest["identity"].nunique(),
        rendered=summary.get("rendered"),
        splits={name: counts(rows) for name, rows in splits.items()},
        people={name: list(_people(curated, rows)) for name, rows in splits.items()},
        histograms=histograms(splits),
        reasons=reasons(rejects, summary),
        examples=_examples(curated, rejects, raw, layout) if raw else {},
        layout=layout,
        outside=summary.get("images_outside"),
        with_raw=raw is not None,
        empty=_shown(summary.get("empty_identities"), curated.names),
    )


def _shown(identities: Sequence[str] | None, names: Names) -> list[str] | None:
    return None if identities is None else [names.person(identity) for identity in identities]


def _rejects(folder: Path) -> pd.DataFrame:
    path = folder / "rejects.parquet"
    return own_files.read_table(path, dict.fromkeys(REJECTS, lambda dtype: True), "curate")


def _summary(folder: Path) -> dict[str, Any]:
    return own_files.read_json(folder / "summary.json", "curate")


def _people(curated: Curated, rows: pd.DataFrame) -> Iterator[Person]:
    """Identities at equal distances in their order, the first and the last among them."""
    identities = rows["identity"].drop_duplicates().to_numpy()
    for identity in identities[_evenly(len(identities), IDENTITIES)]:
        group = rows[rows["identity"] == identity].sort_values(
            "role", ascending=False, kind="stable"
        )
        shown = group.head(IMAGES)
        pixels = curated.pixels(shown.index.to_numpy())
        pictures = [
            Picture(_facts(row), hr)
            for row, hr in zip(shown.to_dict("records"), pixels, strict=True)
        ]
        yield Person(str(identity), len(group), str(group["sex"].iloc[0]), pictures)


def _facts(row: dict[Hashable, Any]) -> str:
    shapes = {
        "yaw": "yaw {:.0f}°",
        "sharpness": "sharpness {:.2f}",
        "identity_distance": "identity distance {:.2f}",
        "appearance": "appearance {:.2f}",
    }
    return ", ".join(
        [
            row["source"],
            *(shape.format(row[key]) for key, shape in shapes.items() if row[key] == row[key]),
        ]
    )


def _evenly(total: int, count: int) -> np.ndarray:
    """At most `count` positions among `total` at equal distances."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


class _Raw:
    """The raw set, of which some files are looked at; a tar.gz is read through for them once."""

    def __init__(self, raw: str | Path, shown: set[str], work: Path, layout: str) -> None:
        try:
            sources.check(raw)
        except RefsrError as error:
            raise RefsrError(
                f"{error}; name the raw set that was curated with --raw, or leave it out"
            ) from error

        is_needed, is_metadata = needed(layout), needed(layout, lambda identity: False)

        def is_shown(name: str, size: int) -> bool:
            return is_needed(name, size) and (name in shown or is_metadata(name, size))

        tree = Tree(sources.open_source(raw, work, is_shown), layout)
        self.boxes = tree.metadata.boxes() if tree.metadata.has_boxes else None
        self._source = tree.source
        names = tree.source.files["name"]
        rows = np.flatnonzero(names.isin(shown))
        self._rows = dict(zip(names.iloc[rows], rows.tolist(), strict=True))

    def read(self, name: str) -> bytes | None:
        """The bytes of one of the files; None where there is no such file."""
        return self._source.read(self._rows[name]) if name in self._rows else None


def _examples(
    curated: Curated, rejects: pd.DataFrame, raw: str | Path, layout: str
) -> dict[str, list[Example]]:
    """Reason -> images left out for it, from the least to the greatest measured value."""
    chosen: dict[str, list[dict[Hashable, Any]]] = {}
    for reason, group in rejects.groupby("reason"):
        group = group.sort_values(["value", "source"])
        chosen[str(reason)] = group.iloc[_evenly(len(group), EXAMPLES)].to_dict("records")
    rows = [row for group in chosen.values() for row in group]
    shown = {name for row in rows for name in (row["source"], row["detail"].removeprefix(_COPY_OF))}
    with tempfile.TemporaryDirectory(prefix="refsr-inspect-") as work:
        opened = _Raw(raw, shown, Path(work), layout)
        return {
            reason: [_example(curated, row, opened) for row in group]
            for reason, group in chosen.items()
        }


def _example(curated: Curated, row: dict[Hashable, Any], raw: _Raw) -> Example:
    pictures = [_look(raw.read(row["source"]), row["source"], raw.boxes, "left out")]
    table, names = curated.table, curated.names
    if row["detail"].startswith(_COPY_OF):
        original = row["detail"].removeprefix(_COPY_OF)
        pictures.append(_look(raw.read(original), original, raw.boxes, "original"))
    elif row["reason"] == "wrong_person":
        reference = np.flatnonzero(
            (table["identity"] == names.person(row["identity"])) & (table["role"] == "reference")
        )
        pictures += [Picture("reference", hr) for hr in curated.pixels(reference)]
    return Example(names.file(row["source"]), row["value"], pictures)


def _look(data: bytes | None, source: str, boxes: pd.DataFrame | None, title: str) -> Picture:
    """A raw image from its file's bytes, reduced, its face box framed."""
    any_format = boxes is None  # as in curation: a set with box files is of JPEGs
    if data is None:
        return Picture(title, None, "not in the raw set")
    try:
        width, height = _size(data, any_format)
        turned = pictures.orientation(data) if any_format else pictures.UPRIGHT
        image, reduction = decoding.decode(data, max(width, height) / THUMB, turned)
    except decoding.Reject as fault:
        return Picture(title, None, fault.detail or REASONS[fault.reason])
    shrink = min(1.0, THUMB / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    name = f"{Path(source).parent.name}/{Path(source).stem}"
    if boxes is not None and name in boxes.index:
        x, y, w, h = boxes.loc[name, list(BOX)].to_numpy(float) * shrink / reduction
        cv2.rectangle(image, (round(x), round(y)), (round(x + w), round(y + h)), _FRAME, 1)
    return Picture(title, image)


def _size(data: bytes, any_format: bool) -> tuple[int, int]:
    """(width, height) of a whole image that is small enough to be decoded.

    That it is tiny is no reason not to look.
    """
    try:
        return decoding.image_size(data, any_format=any_format)
    except decoding.Reject as fault:
        if fault.reason != "tiny":
            raise
        return decoding.MIN_SIDE, decoding.MIN_SIDE
