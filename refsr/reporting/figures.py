"""Pictures of the protocol: strips of a person in every condition, the identity-transfer grid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_pixels
from refsr.evaluation.conditions import CONDITIONS, MAIN, RIGHT
from refsr.evaluation.protocol import Bench, references_of, restore
from refsr.face_crops import USUAL

_ROWS_OF = {"reference": "right", "wrong ref.": "wrong"}  # columns of the pairs; others: "row"
_EYE = 0.08  # half the side of an eye, of the side of the image
INK, GREY, PAPER = (28, 28, 30), (160, 160, 160), 255


@dataclass(frozen=True)
class Strip:
    """One image of one person: pictures by title, (H, H, 3) uint8 RGB.

    `conditions` names the condition that a title stands for. `eyes` says where each picture is
    enlarged in a sheet with close-ups: (x, y), in pixels.
    """

    person: str
    wrong_person: str
    source: str
    pictures: dict[str, np.ndarray]
    conditions: dict[str, str]
    eyes: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Identity transfer: `outputs[i][j]` is LR image i restored with the reference of person j.

    All uint8 RGB.
    """

    people: list[str]
    lr: np.ndarray  # (N, H, W, 3)
    references: np.ndarray  # (N, H, W, 3)
    outputs: list[np.ndarray]  # N of (N, H, W, 3)


def strips(bench: Bench, people: Sequence[str], names: Iterable[str] = MAIN) -> list[Strip]:
    """A strip of one image of each of these people, see `_clear_images`.

    It is in the main conditions, or in those of `names` that they have, in that order.
    """
    chosen = _clear_images(bench, people)
    hr, right, wrong = _images(bench, chosen, "row", "right", "wrong")
    lr = reduce(hr, bench.models.scale)
    columns = {"LR": _nearest(lr, bench.models.scale)}
    titles = {}
    conditions = bench.conditions(chosen)
    for name in (each for each in names if each in conditions):
        condition = conditions[name]
        ref = references_of(bench.curated, condition, chosen, lr)
        sr = restore(bench.models, condition, lr, ref, bench.curated.hr_size)
        columns[condition.short_title] = sr
        titles[condition.short_title] = name
    columns |= {"HR": hr, "reference": right, "wrong ref.": wrong}
    eyes = {title: _eyes(bench, chosen, _ROWS_OF.get(title, "row")) for title in columns}
    rows = _as_strips(chosen, columns, titles)
    return [
        replace(strip, eyes={title: places[number] for title, places in eyes.items()})
        for number, strip in enumerate(rows)
    ]


def _eyes(bench: Bench, chosen: pd.DataFrame, column: str) -> list[tuple[int, int]]:
    """The middle between the eyes of the images in `column`, in pixels."""
    places = _both_eyes(bench, chosen, column).mean(axis=1)
    return [(round(x), round(y)) for x, y in places.tolist()]


def _both_eyes(bench: Bench, chosen: pd.DataFrame, column: str) -> np.ndarray:
    """The eyes of the images in `column`, (N, 2, 2) in pixels; where unknown, the usual places."""
    points = bench.curated.landmarks(chosen[column].to_numpy())[:, :2]
    places = np.where(np.isfinite(points), points, np.array(USUAL[:2]))
    eyes: np.ndarray = (places + 1) / 2 * bench.curated.hr_size
    return eyes


def _as_strips(
    chosen: pd.DataFrame,
    columns: dict[str, torch.Tensor],
    conditions: dict[str, str],
) -> list[Strip]:
    """A strip for each row of `chosen`, of its images (N, 3, H, W) by title."""
    pictures = [to_pixels(column) for column in columns.values()]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*pictures, strict=True)]
    names = zip(chosen["person"], chosen["wrong_person"], chosen["source"], strict=True)
    return [Strip(*name, row, conditions) for name, row in zip(names, rows, strict=True)]


@torch.inference_mode()
def drawn(bench: Bench, people: Sequence[str], count: int = 6) -> list[Strip]:
    """A strip of the first image of each of these people: the output, and samples of it.

    RefSR with the right reference, samples at temperature 1; none where the network draws none.
    """
    if not bench.models.refsr.draws_samples:
        return []
    chosen = _first_images(bench, people)
    hr, ref = _images(bench, chosen, "row", "right")
    lr, upscale = reduce(hr, bench.models.scale), bench.models.refsr.upscale
    right = CONDITIONS[RIGHT].short_title
    columns = {
        "LR": _nearest(lr, bench.models.scale),
        right: upscale(lr, ref),
    }
    for number in range(1, count + 1):
        columns[f"sample {number}"] = upscale(lr, ref, temperature=1.0)
    return _as_strips(chosen, columns | {"HR": hr}, {right: RIGHT})


@torch.inference_mode()
def transfer_grid(bench: Bench, people: Sequence[str]) -> Grid:
    """Every LR against every person's reference, for the first image of each of these people."""
    chosen = _first_images(bench, people)
    hr, ref = _images(bench, chosen, "row", "right")
    lr = reduce(hr, bench.models.scale)
    upscale = bench.models.refsr.upscale
    rows = [to_pixels(upscale(one.expand(len(ref), -1, -1, -1), ref)) for one in lr]
    small = to_pixels(_nearest(lr, bench.models.scale))
    return Grid(list(people), small, to_pixels(ref), rows)


def _clear_images(bench: Bench, people: Sequence[str]) -> pd.DataFrame:
    """Of each of these people the true image whose eyes have the most contrast: open ones."""
    own = bench.test[bench.test["person"].isin(list(people))]
    grey = bench.images(own["row"].to_numpy()).mean(1).cpu().numpy()
    eyes = _both_eyes(bench, own, "row")
    contrast = [_contrast(*each) for each in zip(grey, eyes, strict=True)]
    ordered = own.iloc[np.argsort(contrast, kind="stable")]
    clear = ordered.drop_duplicates("person", keep="last").set_index("person")
    return clear.loc[list(people)].reset_index()


def _contrast(image: np.ndarray, eyes: np.ndarray) -> float:
    """The standard deviation around the eye (x, y) where it is less; of an image (H, W)."""
    reach = max(1, round(_EYE * len(image)))
    corners = np.clip(eyes.round().astype(int) - reach, 0, len(image) - 2 * reach)
    side = 2 * reach
    return min(float(image[y : y + side, x : x + side].std()) for x, y in corners.tolist())


def _first_images(bench: Bench, people: Sequence[str]) -> pd.DataFrame:
    first = bench.test.drop_duplicates("person").set_index("person")
    return first.loc[list(people)].reset_index()


def _images(bench: Bench, chosen: pd.DataFrame, *columns: str) -> list[torch.Tensor]:
    return [bench.images(chosen[key].to_numpy()) for key in columns]


def sheet(rows: Sequence[Strip], zoom: int = 2, *, close: bool = False) -> np.ndarray:
    """Strips below each other under a line of titles: (H, W, 3) uint8 RGB.

    They are enlarged `zoom` times without smoothing. With `close`, each strip is followed by the
    eyes of its pictures at twice that size.
    """
    titles = list(rows[0].pictures)
    pictures = []
    for strip in rows:
        pictures.append([strip.pictures[title] for title in titles])
        if close:
            pictures.append([_close_up(strip.pictures[each], strip.eyes[each]) for each in titles])
    return mosaic(pictures, titles, zoom)


def _close_up(picture: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    """The quarter of a picture (H, H, 3) around a place, at the picture's size."""
    half = len(picture) // 2
    left, top = (min(max(at - half // 2, 0), len(picture) - half) for at in centre)
    part = picture[top : top + half, left : left + half]
    enlarged: np.ndarray = cv2.resize(part, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return enlarged


def grid_sheet(grid: Grid, zoom: int = 2) -> np.ndarray:
    """The identity-transfer grid as one picture.

    LR in the first column, references in the first row.
    """
    corner = np.full_like(grid.references[0], PAPER)
    rows = [[corner, *grid.references]]
    rows += [[lr, *row] for lr, row in zip(grid.lr, grid.outputs, strict=True)]
    titles = [f"ref. {number}" for number in range(1, len(grid.people) + 1)]
    return mosaic(rows, ["LR", *titles], zoom)


def mosaic(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], zoom: int) -> np.ndarray:
    """Pictures (H, H, 3) in rows below a line of titles, enlarged: (H', W', 3) uint8."""
    size = zoom * len(rows[0][0])
    gap, header = max(2, size // 32), max(12, size // 5)
    height = header + len(rows) * (size + gap) + gap
    canvas = np.full((height, gap + len(titles) * (size + gap), 3), PAPER, np.uint8)
    for column, title in enumerate(titles):
        left = gap + column * (size + gap)
        _write(canvas, title, (left + size // 2, header // 2), size // 8)
        for number, row in enumerate(rows):
            top = header + number * (size + gap)
            place = canvas[top : top + size, left : left + size]
            place[:] = np.kron(row[column], np.ones((zoom, zoom, 1), np.uint8))
    return canvas


def reliability(bins: Mapping[str, Mapping[str, float]], size: int = 320) -> np.ndarray:
    """Error over the spread of samples: (size, size, 3) uint8 RGB.

    Of the pixels in `bins`, by their spread. Both axes end at the greatest of either; on the grey
    line the spread is the error.
    """
    points = np.array([(each["predicted"], each["actual"]) for each in bins.values()])
    high, edge = points.max() or 1.0, size // 10
    places = np.array([edge, size - edge]) + (size - 2 * edge) * points / high * np.array([1, -1])
    canvas = np.full((size, size, 3), PAPER, np.uint8)
    cv2.rectangle(canvas, (edge, edge), (size - edge, size - edge), GREY)
    cv2.line(canvas, (edge, size - edge), (size - edge, edge), GREY)
    cv2.polylines(canvas, [places.round().astype(np.int32)], False, INK, 2, cv2.LINE_AA)
    _write(
        canvas,
        f"error over spread, 0 to {high:.1f} of 255",
        (size // 2, edge // 2),
        edge // 2,
    )
    return canvas


def _nearest(lr: torch.Tensor, scale: int) -> torch.Tensor:
    return F.interpolate(lr, scale_factor=scale, mode="nearest")


def _write(canvas: np.ndarray, text: str, centre: tuple[int, int], size: int) -> None:
    """Text in the middle of a place; the letters of all titles stand on one line."""
    font = cv2.FontFace("sans")
    width = cv2.getTextSize((0, 0), text, (0, 0), font, size, 500)[2]
    cv2.putText(
        canvas,
        text,
        (centre[0] - width // 2, centre[1] + size // 3),
        INK,
        font,
        size,
        500,
    )
