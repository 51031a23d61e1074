"""A trained model by its file, its folder or its name in the registry: what `refsr.load` does."""

import os
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference.library import Upscaler
from refsr.integrations.registry import CHECKPOINT, checkpoint_of
from refsr.io.paths import path_text
from refsr.tracker import tracking_uri as default_uri
from refsr.training.precision import choose_device

DEVICES = ("cpu", "cuda", "auto")


def load(
    source: str | os.PathLike[str], *, device: str = "cpu", tracking_uri: str | None = None
) -> Upscaler:
    """See `refsr.load`."""
    if device not in DEVICES:
        raise RefsrError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    name = path_text(os.fspath(source))
    with checkpoint_of(tracking_uri or default_uri(), name) as path:
        return Upscaler.from_checkpoint(_file(path), choose_device(device))


def _file(path: Path) -> Path:
    return path / CHECKPOINT if path.is_dir() else path
