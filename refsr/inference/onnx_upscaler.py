"""A model exported to ONNX, run by ONNX Runtime on the CPU: without PyTorch."""

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refsr.errors import RefsrError
from refsr.inference import fitting
from refsr.inference.library import Upscaler
from refsr.inference.options import Options

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
HEADER = "refsr"  # the key of the metadata that holds the header of the checkpoint, as JSON
RATE, FITS = "rate", "fits"  # the input that asks for scores of references, and the output
_LOAD = "load the checkpoint"
_SHOWN = 300  # characters of an error in a message


def load(path: Path, device: str = "cpu") -> Upscaler:
    """The model of a file that `refsr export` wrote.

    Raises:
        RefsrError: It is missing, damaged or not of refsr, ONNX Runtime is not installed, or the
            device is not the CPU.
    """
    if device == "cuda":
        raise RefsrError(f"{path}: an ONNX file runs on the CPU here; load the checkpoint for cuda")
    session = open_session(path)
    config, facts = _header(path, session)
    rate = partial(_rate, session, config) if can_rate(session) else None
    return Upscaler(config, partial(_upscale, session, config), facts, rate)


def open_session(path: Path) -> "InferenceSession":
    """A session of ONNX Runtime, of OMP_NUM_THREADS threads where that is set, as PyTorch has.

    Raises RefsrError where the file is missing or cannot be run.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise RefsrError(f"{path}: needs ONNX Runtime: pip install 'refsr[onnx]'")
    if not path.is_file():
        raise RefsrError(f"{path}: no such file; write one with `refsr export --onnx {path}`")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised; it need not be printed as well
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a dozen classes, which share no other base
        reason = " ".join(str(error).split())[:_SHOWN]
        raise RefsrError(f"{path}: cannot be run; export it again ({reason})") from error


def _header(path: Path, session: "InferenceSession") -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the facts of the checkpoint."""
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        header = json.loads(metadata[HEADER])
        config: dict[str, Any] = header["config"]
        facts = dict(header.get("facts") or {})
        fitting.sizes(config)
        str(config["model"])
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise RefsrError(
            f"{path}: not a model of refsr, which `refsr export` writes ({error!r} in its metadata)"
        ) from error
    return config, facts


def _upscale(
    session: "InferenceSession",
    config: Mapping[str, Any],
    photos: np.ndarray,
    references: Sequence[Sequence[np.ndarray]],
    options: Options = Options(),  # noqa: B008  it cannot be changed
) -> np.ndarray:
    """The same as `refsr.inference.upscaler.upscale_by`, without what a file cannot do."""
    if options.temperature:
        raise RefsrError(f"an ONNX file draws no samples: {_LOAD} for a temperature above 0")
    if options.device == "cuda":
        raise RefsrError(f"an ONNX file runs on the CPU here: {_LOAD} for cuda")
    size, hr_size = fitting.sizes(config)
    feeds = {"lr": np.stack([fitting.fit(each, size) for each in photos])}
    if any(each.name == "ref" for each in session.get_inputs()):
        fitted = [fitting.fit(each, hr_size) for given in references for each in given]
        shape = (len(photos), len(fitted) // len(photos), 3, hr_size, hr_size)
        feeds["ref"] = np.array(fitted, np.float32).reshape(shape)
    (sr,) = session.run(["sr"], feeds)
    if options.fidelity:
        sr = _held(sr, feeds["lr"], options.fidelity)
    height, width = photos.shape[1:3]
    rows, columns = fitting.content(height, width, size, hr_size // size)
    larger = fitting.scaled(height, width, hr_size)
    faces = np.stack([fitting.resize(face, *larger) for face in sr[:, :, rows, columns]])
    pixels = (faces.clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


def can_rate(session: "InferenceSession") -> bool:
    """Whether the file says how well references fit."""
    return any(each.name == RATE for each in session.get_overridable_initializers())


def _rate(
    session: "InferenceSession",
    config: Mapping[str, Any],
    photo: np.ndarray,
    references: Sequence[np.ndarray],
) -> list[float | None]:
    """The same as `refsr.inference.upscaler.compatibility`."""
    if not references:
        return []
    size, hr_size = fitting.sizes(config)
    feeds = {
        "lr": fitting.fit(photo, size)[None],
        "ref": np.stack([fitting.fit(each, hr_size) for each in references])[None],
        RATE: np.array([True]),
    }
    (fits,) = session.run([FITS], feeds)
    return [float(each) for each in fits[0]]


def _held(sr: np.ndarray, lr: np.ndarray, fidelity: float) -> np.ndarray:
    """As `hold_to_lr`, which needs PyTorch."""
    import torch

    from refsr.models.upscaling import hold_to_lr

    held = hold_to_lr(torch.from_numpy(sr), torch.from_numpy(lr), fidelity)
    return np.asarray(held.numpy())
