"""Files this pipeline writes itself: shards, checkpoints, the resume point, the parts' facts."""

import io
import json
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from helpers import make_curated

from fuzzing.damage import damaged
from refsr.config import Curate, TrainSisr
from refsr.curation import partition
from refsr.dataset.curated import Curated
from refsr.models import build
from refsr.models.checkpoint import load_model, save_model
from refsr.share import WHOLE
from refsr.steps.register import _read_metrics
from refsr.training.learner import Learner
from refsr.training.objective import Objective

CONFIG = {
    "model": "sisr",
    "variant": "compact",
    "hr_size": 32,
    "scale": 8,
    "width": 16,
    "blocks": 1,
}


def mutate_shard(rng: np.random.Generator) -> tuple[str, bytes]:
    """A shard of a curated set."""
    return "/hr-00000.npy", damaged(_curated()["hr-00000.npy"], rng)


def read_shard(path: Path) -> None:
    """All pixels of the set it belongs to."""
    (path.parent / "manifest.parquet").write_bytes(_curated()["manifest.parquet"])
    faces = Curated(path.parent)
    faces.pixels(np.arange(len(faces.table)))


def mutate_checkpoint(rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage is in the header half of the time: tensors are most of a checkpoint."""
    data = _checkpoint()
    if rng.random() < 0.5:
        return ".safetensors", damaged(data, rng)
    end = 8 + int.from_bytes(data[:8], "little")
    header = damaged(data[8:end], rng)
    return ".safetensors", len(header).to_bytes(8, "little") + header + data[end:]


def read_checkpoint(path: Path) -> None:
    """Build its network."""
    load_model(path)


def mutate_metrics(rng: np.random.Generator) -> tuple[str, bytes]:
    """An evaluation."""
    document = {
        "psnr": {"ref_right": {"mean": 20.0, "low": 19.5, "high": 20.5}},
        "data": {"images": 4},
    }
    return ".json", damaged(json.dumps(document).encode(), rng)


def read_metrics(path: Path) -> None:
    """As `register` does."""
    _read_metrics(path)


def mutate_part(rng: np.random.Generator) -> tuple[str, bytes]:
    """The facts of a part of a curation."""
    return f"/{partition.PART}", damaged(_part(), rng)


def read_part(path: Path) -> None:
    """As `merge` does."""
    partition.check([path.parent], "signature", Curate(), "vggface2")


def mutate_state(rng: np.random.Generator) -> tuple[str, bytes]:
    """The resume point of a training.

    Half of the time a part of it is damaged before it gets its checksum.
    """
    if rng.random() < 0.5:
        return ".pt", damaged(_state(), rng)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_state())) as whole, zipfile.ZipFile(target, "w") as archive:
        parts = whole.infolist()  # the first is the pickle, the others are mostly tensors
        bad = parts[0 if rng.random() < 0.5 else rng.integers(len(parts))]
        for part in parts:
            data = whole.read(part)
            archive.writestr(part, damaged(data, rng) if part is bad else data)
    return ".pt", target.getvalue()


def read_state(path: Path) -> None:
    """Go on from it."""
    _learner().resume(path)


def _learner() -> Learner:
    params = TrainSisr(steps=2, warm_start_step=1, batch_size=2, device="cpu", precision="float32")
    return Learner(build(CONFIG), params, _objective())


@cache
def _objective() -> Objective:
    params = TrainSisr()
    return Objective(params.loss.model_copy(update={"perceptual_weight": 0.0}), params.steps)


@cache
def _state() -> bytes:
    folder = Path(tempfile.mkdtemp())
    _learner().save(folder / "state.pt")
    data = (folder / "state.pt").read_bytes()
    shutil.rmtree(folder)
    return data


@cache
def _part() -> bytes:
    folder = Path(tempfile.mkdtemp())
    partition.write(folder, "signature", Curate(), WHOLE, "vggface2")
    data = (folder / partition.PART).read_bytes()
    shutil.rmtree(folder)
    return data


@cache
def _curated() -> dict[str, bytes]:
    folder = Path(tempfile.mkdtemp())
    make_curated(folder, identities=2)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    return files


@cache
def _checkpoint() -> bytes:
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    save_model(folder / "model.safetensors", build(CONFIG))
    data = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(folder)
    return data
