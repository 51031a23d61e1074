"""Training pairs: an HR face and a reference. The step number alone decides the batch."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from refsr.config import TrainRefsr
from refsr.dataset.curated import Curated
from refsr.dataset.tensors import as_images
from refsr.errors import RefsrError

COPIES = 4  # of each HR image, each moved another way, that landmarks are learned from
_MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a mirrored face, by those of the face


class Batch(NamedTuple):
    """Images (B, 3, H, W) in [0, 1] on the training device.

    `ref` is None where the step trains without. `faces` and `points` are what the network learns
    landmarks from, None where it learns none.
    """

    hr: torch.Tensor
    ref: torch.Tensor | None
    faces: torch.Tensor | None = None  # (COPIES B, 3, H, W): HR images, moved
    points: torch.Tensor | None = None  # (COPIES B, 5, 2), see refsr.models.landmarks

    def inputs(self) -> list[torch.Tensor | None]:
        """What a forward in training takes beside LR."""
        landmarks = [self.faces, self.points] if self.faces is not None else []
        return [self.hr, self.ref, *landmarks]

    def every(self, first: int, count: int) -> "Batch":
        """Each `count`-th of its images, from `first` on."""
        if count == 1:
            return self
        parts = (None if tensor is None else tensor[first::count] for tensor in self)
        return Batch._make(parts)


class References(NamedTuple):
    """The references of a batch, as they are drawn."""

    rows: np.ndarray
    own: np.ndarray  # places in the batch whose reference is the image itself, changed a little
    seed: int  # of the change


class Drawn(NamedTuple):
    """What a step is trained with, before it is on the device: uint8 pixels (B, H, W, 3)."""

    step: int
    hr: torch.Tensor
    mirror: bool
    ref: torch.Tensor | None
    references: References | None
    points: torch.Tensor | None

    def pinned(self) -> "Drawn":
        """The same, with pixels in memory that a GPU reads itself."""
        ref = None if self.ref is None else self.ref.pin_memory()
        return self._replace(hr=self.hr.pin_memory(), ref=ref)


class Pairs:
    """Batches of the training split.

    `references` None gives single images, for the single-image model.

    Batch `step` is a function of (seed, step) alone: a resumed training sees what the uninterrupted
    one would. Raises RefsrError where there is no training image, or where one has no other
    image of its person for a reference.
    """

    def __init__(
        self,
        curated: Curated,
        seed: int,
        batch_size: int,
        references: TrainRefsr | None = None,
        *,
        landmarks: bool = False,
    ) -> None:
        self._curated = curated
        self._rows, first, counts = _by_identity(curated)
        if references is not None and counts.min() < 2:
            alone = curated.table["identity"].iloc[self._rows[first[counts.argmin()]]]
            raise RefsrError(
                f"{curated.folder}: {alone} has 1 training image, and its "
                "reference must be another; "
                "set curate.train_images: {min: 2, max: 30} and run the stage `curate` again"
            )
        # Where the identity of a row begins, and how many rows it has.
        self._first = np.repeat(first.astype(np.int32), counts)
        self._count = np.repeat(counts.astype(np.int32), counts)
        self._seed, self._batch_size, self._references = seed, batch_size, references
        self._points = curated.landmarks(self._rows) if landmarks else None
        # fmax passes over NaN, and needs no memory for millions of rows
        if self._points is not None and np.isnan(np.fmax.reduce(self._points, axis=None)):
            raise RefsrError(
                f"{curated.folder}: no image has landmarks, by which references are aligned; "
                "set model: {align: false} in train_sisr"
            )

    def batch(self, step: int, device: str) -> Batch:
        """The batch of one step."""
        return self.placed(self.draw(step), torch.device(device))

    def draw(self, step: int) -> Drawn:
        """What a step is trained with, in the memory of the CPU.

        All mirrored or none: a mole stays on its side of the person.
        """
        rng = np.random.default_rng([self._seed, step])
        chosen = rng.integers(0, len(self._rows), self._batch_size)
        mirror = bool(rng.random() < 0.5)
        references = self._draw_references(chosen, rng, step)
        ref = None if references is None else self._pixels(references.rows)
        points = None if self._points is None else torch.from_numpy(self._points[chosen])
        return Drawn(step, self._pixels(chosen), mirror, ref, references, points)

    def placed(self, drawn: Drawn, device: torch.device) -> Batch:
        """The batch of what was drawn, on the device."""
        hr = images_of(drawn.hr, device, mirror=drawn.mirror)
        faces, points = self._moved_faces(hr, drawn)
        ref = None if drawn.ref is None else images_of(drawn.ref, device, mirror=drawn.mirror)
        if ref is not None and drawn.references is not None and len(drawn.references.own):
            rows = sent(torch.from_numpy(drawn.references.own), device)
            ref[rows] = warp(hr[rows], seed=drawn.references.seed)
        return Batch(hr, ref, faces, points)

    def _moved_faces(
        self, hr: torch.Tensor, drawn: Drawn
    ) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
        """Faces of the batch, moved, and their landmarks; see `Batch`."""
        points = drawn.points
        if points is None:
            return None, None
        if drawn.mirror:
            points = (points * torch.tensor([-1.0, 1.0]))[:, _MIRRORED]
        draw = torch.Generator().manual_seed(self._seed * 1_000_003 + drawn.step)
        affine = small_moves(COPIES * len(hr), draw)
        moved = (points.repeat(COPIES, 1, 1) - affine[:, None, :, 2]) @ torch.linalg.inv(
            affine[:, :, :2]
        ).mT
        faces = moved_by(hr.repeat(COPIES, 1, 1, 1), sent(affine, hr.device))
        return faces, sent(moved, hr.device)

    def _draw_references(
        self, chosen: np.ndarray, rng: np.random.Generator, step: int
    ) -> References | None:
        """The references of a batch, or None where the step trains without.

        For each image another one of the person, or, for a share of them, any image at all.
        """
        params = self._references
        if params is None or rng.random() < params.no_reference:
            return None
        offset = chosen - self._first[chosen]
        other = (offset + 1 + rng.integers(0, self._count[chosen] - 1)) % self._count[chosen]
        wrong = rng.random(len(chosen)) < params.wrong_reference
        anyone = rng.integers(0, len(self._rows), len(chosen))
        rows = np.where(wrong, anyone, self._first[chosen] + other)
        own = np.flatnonzero(rng.random(self._batch_size) < _self_share(params, step))
        return References(rows, own, int(rng.integers(2**62)) if len(own) else 0)

    def _pixels(self, chosen: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self._curated.pixels(self._rows[chosen]))


def _by_identity(curated: Curated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows by name of identity, where each identity begins, and how many it has."""
    rows = curated.split("train")
    if not len(rows):
        raise RefsrError(
            f"{curated.folder}: no image is for training; run the stage `curate` again"
        )
    names = curated.table["identity"].astype("category").cat
    places = np.argsort(np.argsort(names.categories.to_numpy())).astype(np.int32)
    place = places[names.codes.to_numpy()[rows]]
    ordered = rows[np.argsort(place, kind="stable")].astype(np.int32)
    place.sort()
    first = np.flatnonzero(np.diff(place, prepend=-1))
    return ordered, first, np.diff(first, append=len(rows))


def images_of(pixels: torch.Tensor, device: torch.device, *, mirror: bool = False) -> torch.Tensor:
    """uint8 pixels (B, H, W, 3) -> images on the device (B, 3, H, W), float32 in [0, 1]."""
    images = as_images(sent(pixels, device))
    return images.flip(3) if mirror else images


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device.

    A GPU is not waited for, so that the next step is prepared while it computes.
    """
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


def _self_share(params: TrainRefsr, step: int) -> float:
    """The share of self-references at a step: falls to none over the first 60% of the training."""
    return params.self_reference * max(0.0, 1 - step / (0.6 * params.steps))


def warp(images: torch.Tensor, seed: int) -> torch.Tensor:
    """Each image a little turned, scaled, moved and re-lit: (B, 3, H, W) in [0, 1] -> the same.

    As a reference it must be matched, but nothing in it is missing: what a network learns to copy
    first.
    """
    draw = torch.Generator().manual_seed(seed)
    count = len(images)
    affine = small_moves(count, draw)
    gain = 1 + 0.12 * torch.randn(count, 3, 1, 1, generator=draw)
    offset = 0.05 * torch.randn(count, 1, 1, 1, generator=draw)
    affine, gain, offset = (sent(drawn, images.device) for drawn in (affine, gain, offset))
    return (moved_by(images, affine) * gain + offset).clamp(0, 1)


def small_moves(count: int, draw: torch.Generator) -> torch.Tensor:
    """Random maps that turn, scale and move an image a little: (count, 2, 3) for F.affine_grid."""
    angle = 0.12 * torch.randn(count, generator=draw)
    scale = 1 + 0.06 * torch.randn(count, generator=draw)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = 0.08 * torch.randn(2, count, generator=draw)
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    return torch.stack(rows, 1)


def moved_by(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, H, W), each sampled where its map (2, 3) points."""
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
