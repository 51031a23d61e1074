"""A network -> one ONNX file, which is written only if it gives what the network gives."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper
from onnxruntime import InferenceSession
from torch import nn

from refsr.errors import RefsrError
from refsr.inference import fitting, onnx_upscaler
from refsr.inference.onnx_graph import branches_of, joined, rating_of
from refsr.inference.onnx_upscaler import FITS, RATE
from refsr.inference.quantization import MOST, Face, Faces, mean_psnr, quantized
from refsr.io.atomic import write_file
from refsr.models import SuperResolver
from refsr.models.compatibility import score

TOLERANCE = (
    1e-5  # between ONNX Runtime and PyTorch, of values up to 1; of larger ones in proportion
)
BATCHES = (1, 3)
Sides = tuple[int, int]


class Exported(NamedTuple):
    """What was compared, and how it came out."""

    sizes: tuple[Sides, ...]  # (height, width) of LR
    references: tuple[int, ...]  # how many
    difference: float  # the largest of all pixels and scores
    losses: dict[int, float]  # of 8 bits, dB by number of references; empty in float32


def export(
    network: nn.Module, facts: Mapping[str, Any], file: Path, faces: Faces | None = None
) -> Exported:
    """Write a network as ONNX.

    Args:
        network: On the CPU, in evaluation mode.
        facts: What its checkpoint says of it.
        file: What to write or replace.
        faces: Write convolutions of 8 bits, by these; None: everything in float32.

    Returns:
        How ONNX Runtime and PyTorch compare, in float32, and what 8 bits lose.

    Raises:
        RefsrError: They differ by more than TOLERANCE, or 8 bits lose more than
            `quantization.MOST`; nothing is written.
    """
    config = cast(SuperResolver, network).config
    sizes = _sizes(network)
    references = (0, 1, 2, 3, 4) if config["model"] == "refsr" else (0,)
    header = json.dumps({"config": config, "facts": facts})
    any_size = len(sizes) > 1
    branches, rating = branches_of(network, any_size), rating_of(network, any_size)
    with tempfile.TemporaryDirectory(prefix="refsr-export-") as folder:
        made = _saved(joined(network, branches, rating), header, Path(folder) / "float32.onnx")
        difference = compare(network, made, sizes, references)
        losses = {}
        if faces:
            smaller = [quantized(each, faces.calibration) for each in branches]
            whole = joined(network, smaller, rating)
            exact, made = made, _saved(whole, header, Path(folder) / "int8.onnx")
            losses = _losses(exact, made, faces.measured, references[:2])
        write_file(file, lambda partial: shutil.copyfile(made, partial))
    return Exported(sizes, references, difference, losses)


def _saved(model: ModelProto, header: str, file: Path) -> Path:
    helper.set_model_props(model, {onnx_upscaler.HEADER: header})
    onnx.save(model, file)
    return file


def _losses(
    exact: Path, smaller: Path, faces: Sequence[Face], references: Sequence[int]
) -> dict[int, float]:
    """How much lower the mean PSNR of the second file is, dB, by number of references."""
    sessions = [onnx_upscaler.open_session(each) for each in (exact, smaller)]
    losses = {}
    for count in references:
        before, after = (mean_psnr(session, faces, count) for session in sessions)
        losses[count] = before - after
        if not losses[count] <= MOST:
            raise RefsrError(
                f"8 bits lose {losses[count]:.2f} dB with {count} references, more than {MOST}; "
                "nothing was written: export without --int8"
            )
    return losses


def is_export(path: Path) -> bool:
    """Whether `export` wrote a file, by its metadata."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's, the decoder's and the system's
        return False
    return any(each.key == onnx_upscaler.HEADER for each in model.metadata_props)


def _sizes(network: nn.Module) -> tuple[Sides, ...]:
    """The network's own size of LR, and another where it takes any."""
    resolver = cast(SuperResolver, network)
    side, _ = fitting.sizes(resolver.config)
    own, other = (side, side), (side + 4, side + 2)
    try:
        with torch.inference_mode():
            resolver.upscale(torch.rand(1, 3, *other))
    except (ValueError, RuntimeError):
        return (own,)
    return own, other


def compare(
    network: nn.Module, file: Path, sizes: tuple[Sides, ...], references: tuple[int, ...]
) -> float:
    """The largest difference between ONNX Runtime and PyTorch, of a pixel or a reference's score.

    Of noise, in every size, number of references and batch.

    Raises:
        RefsrError: It is above TOLERANCE, or no number.
    """
    session = onnx_upscaler.open_session(file)
    _, hr_size = fitting.sizes(cast(SuperResolver, network).config)
    draws = torch.Generator().manual_seed(0)
    worst = 0.0
    for size, count, batch in [(s, n, b) for s in sizes for n in references for b in BATCHES]:
        lr = torch.rand(batch, 3, *size, generator=draws)
        ref = torch.rand(batch, count, 3, hr_size, hr_size, generator=draws)
        difference = _difference(network, session, lr, ref)
        if not difference <= TOLERANCE:
            raise RefsrError(
                f"ONNX Runtime and PyTorch differ by {difference:.1e}, more than {TOLERANCE:.0e}, "
                f"with {count} references in a batch of {batch}; nothing was written. "
                "A network that draws at random cannot be exported"
            )
        worst = max(worst, difference)
    return worst


@torch.inference_mode()
def _difference(
    network: nn.Module, session: InferenceSession, lr: torch.Tensor, ref: torch.Tensor
) -> float:
    """Of LR (B, 3, h, w) and references (B, R, 3, H, W), R may be 0."""
    given = {"lr": lr.numpy(), "ref": ref.numpy()}
    feeds = {each.name: given[each.name] for each in session.get_inputs()}
    (result,) = session.run(["sr"], feeds)
    expected = cast(SuperResolver, network).upscale(lr, ref if ref.shape[1] else None)
    difference = _relative(result, expected)
    if ref.shape[1] and onnx_upscaler.can_rate(session):
        (scores,) = session.run([FITS], feeds | {RATE: np.array([True])})
        difference = max(difference, _relative(scores, cast(torch.Tensor, score(network, lr, ref))))
    return difference


def _relative(result: np.ndarray, expected: torch.Tensor) -> float:
    """The largest difference, of values up to 1; of larger ones in proportion."""
    largest = max(1.0, float(expected.abs().max()))
    return float((torch.from_numpy(result) - expected).abs().max()) / largest
