"""A trained model by its file, its folder or its name in the registry: what `refsr.load` does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference import onnx_upscaler
from refsr.inference.library import Upscaler
from refsr.integrations.registry import CHECKPOINT, checkpoint_of
from refsr.io import marker
from refsr.io.paths import path_text
from refsr.tracker import tracking_uri as default_uri

DEVICES = ("cpu", "cuda", "auto")


def load(
    source: str | os.PathLike[str], *, device: str = "cpu", tracking_uri: str | None = None
) -> Upscaler:
    """See `refsr.load`."""
    if device not in DEVICES:
        raise RefsrError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    name = path_text(os.fspath(source))
    if Path(name).suffix.lower() == onnx_upscaler.SUFFIX:
        return onnx_upscaler.load(Path(name), device)
    from refsr.training.precision import choose_device  # PyTorch, which an ONNX file does without

    with checkpoint_file(name, tracking_uri) as path:
        return Upscaler.from_checkpoint(path, choose_device(device))


@contextmanager
def model_file(source: str) -> Iterator[Path]:
    """The file of a model, ONNX files too; see `checkpoint_file`."""
    if Path(source).suffix.lower() == onnx_upscaler.SUFFIX:
        yield Path(source)
        return
    with checkpoint_file(source) as path:
        yield path


@contextmanager
def checkpoint_file(source: str, tracking_uri: str | None = None) -> Iterator[Path]:
    """The checkpoint file of a model, while the block runs.

    Args:
        source: As in `refsr.load`.
        tracking_uri: Likewise.

    Raises:
        RefsrError: There is no such version, or the file is not what its folder's marker says.
    """
    with checkpoint_of(tracking_uri or default_uri(), source) as path:
        file = path / CHECKPOINT if path.is_dir() and path.name != CHECKPOINT else path
        marker.require_whole(file)
        yield file
