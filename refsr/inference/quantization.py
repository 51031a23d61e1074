"""Convolutions of 8 bits in an ONNX file, and what they cost on faces, in dB."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_images
from refsr.errors import RefsrError

MOST = 0.1  # dB: a file that loses more is not written
CALIBRATION, MEASURED = ("train", 32), ("validation", 64)  # of which people, and how many
Feeds = dict[str, np.ndarray]


class Face(NamedTuple):
    """A person's image and reference."""

    feeds: Feeds  # lr (1, 3, h, w) and ref (1, 1, 3, H, W), float32
    hr: np.ndarray  # (1, 3, H, W)


class Faces(NamedTuple):
    """Faces that set the ranges of values, and others that show the loss."""

    calibration: list[Face]
    measured: list[Face]


def faces_of(folder: Path, hr_size: int, scale: int) -> Faces:
    """Faces of a curated set. Test people are left alone.

    Raises:
        RefsrError: It is missing or damaged, of another size, or without training or validation
            people.
    """
    curated = Curated(folder)
    if curated.hr_size != hr_size:
        raise RefsrError(f"{folder}: images of {curated.hr_size} pixels; the model gives {hr_size}")
    return Faces(*(list(_faces(curated, *part, scale)) for part in (CALIBRATION, MEASURED)))


def _faces(curated: Curated, split: str, count: int, scale: int) -> Iterator[Face]:
    """The first image and the reference of the first people of a split."""
    table = curated.table.reset_index(drop=True)
    people = table[table["split"] == split].groupby("identity")
    rows = [
        (each.index[each["role"] == "image"][0], each.index[each["role"] == "reference"][0])
        for _, each in people
        if set(each["role"]) >= {"image", "reference"}
    ][:count]
    if not rows:
        raise RefsrError(f"{curated.folder}: no {split} people with an image and a reference")
    for pair in rows:
        images = to_images(curated.pixels(np.array(pair)))
        lr, hr, ref = reduce(images[:1], scale), images[:1], images[1:]
        yield Face({"lr": lr.numpy(), "ref": ref[:, None].numpy()}, hr.numpy())


def quantized(model: ModelProto, faces: Sequence[Face]) -> ModelProto:
    """The graph with convolutions of 8 bits, whose ranges hold what these faces need."""
    names = [each.name for each in model.graph.input]
    with tempfile.TemporaryDirectory(prefix="refsr-quantize-") as folder, _quiet():
        file = Path(folder) / "quantized.onnx"
        quantize_static(
            model,
            file,
            _Reader([{name: face.feeds[name] for name in names} for face in faces]),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,  # of weights to 7 bits: without VNNI sums of 8 saturate
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(file)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """The inputs, one after the other, as ONNX Runtime asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        """The next inputs, or None after the last."""
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that quantize_static logs, which concerns other networks."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def mean_psnr(session: InferenceSession, faces: Sequence[Face], references: int) -> float:
    """The mean PSNR of these faces, dB, with one reference each or with none."""
    return float(np.mean([_psnr(session, face, references) for face in faces]))


def _psnr(session: InferenceSession, face: Face, references: int) -> float:
    feeds: dict[str, Any] = face.feeds | {"ref": face.feeds["ref"][:, :references]}
    (sr,) = session.run(["sr"], {each.name: feeds[each.name] for each in session.get_inputs()})
    error = float(np.square(sr.clip(0, 1) - face.hr).mean())
    return float(-10 * np.log10(max(error, 1e-10)))
