"""A trained model by its file, its folder or its name in the registry: what `refsr.load` does."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference import onnx_upscaler
from refsr.inference.library import Upscaler
from refsr.inference.options import DEVICES, require_range
from refsr.integrations.registry import CHECKPOINT, checkpoint_of
from refsr.io import files, marker
from refsr.io.paths import path_text
from refsr.tracker import tracking_uri as default_uri

_PIECE = 2**24  # bytes read of an object at a time


def load(
    source: str | os.PathLike[str],
    *,
    device: str = "cpu",
    realism: float = 0.0,
    tracking_uri: str | None = None,
) -> Upscaler:
    """See `refsr.load`."""
    if device not in DEVICES:
        raise RefsrError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    name = path_text(os.fspath(source))
    require_range("realism", realism, 0, 1)
    if _is_onnx(name):
        if realism:
            raise RefsrError(
                f"{name}: an ONNX file has one realism: `refsr export --realism` sets it"
            )
        with model_file(name) as path:
            return onnx_upscaler.load(path, device)
    from refsr.models.device import choose_device  # PyTorch, which an ONNX file does without

    with checkpoint_file(name, tracking_uri) as path:
        return Upscaler.from_checkpoint(path, choose_device(device), realism)


@contextmanager
def model_file(source: str) -> Iterator[Path]:
    """The file of a model, ONNX files too; see `checkpoint_file`."""
    if _is_onnx(source):
        with _local(source) as path:
            yield path
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
    with ExitStack() as stack:
        if files.is_remote(source):
            path = stack.enter_context(_local(_object(source)))
        else:
            path = stack.enter_context(checkpoint_of(tracking_uri or default_uri(), source))
        file = path / CHECKPOINT if path.is_dir() and path.name != CHECKPOINT else path
        marker.require_whole(file)
        yield file


def _is_onnx(source: str) -> bool:
    return Path(source).suffix.lower() == onnx_upscaler.SUFFIX


def _object(uri: str) -> str:
    """The URI of the checkpoint; a prefix is that of a model's folder."""
    is_file = Path(uri).suffix == Path(CHECKPOINT).suffix
    folder = uri.removeprefix("s3://").rstrip("/")
    return uri if is_file else f"s3://{folder}/{CHECKPOINT}"


@contextmanager
def _local(source: str) -> Iterator[Path]:
    """A file itself; of an object a copy, while the block runs."""
    if not files.is_remote(source):
        yield Path(source)
        return
    from refsr.io.s3 import read_range

    size = files.size_of(source)
    with tempfile.TemporaryDirectory(prefix="refsr-model-") as folder:
        path = Path(folder) / Path(source).name
        with path.open("wb") as file:
            for start in range(0, size, _PIECE):
                file.write(read_range(source, start, min(_PIECE, size - start)))
        yield path
