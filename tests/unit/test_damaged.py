"""Every file that a stage leaves for another, damaged:
its reader goes on, or one message names the file.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated
from safetensors.torch import save_file

from refsr.config import TrainSisr
from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import write_shards
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_model, save_model
from refsr.params import load_section
from refsr.reporting.charts import curves
from refsr.reporting.inspection import _rejects, _summary
from refsr.reporting.report import _rendered
from refsr.steps.register import _read_metrics
from refsr.training.learner import Learner
from refsr.training.objective import Objective

CONFIG = {
    "model": "sisr",
    "variant": "compact",
    "hr_size": 16,
    "scale": 8,
    "width": 4,
    "blocks": 1,
    "latent": 0,
}


def _learner() -> Learner:
    torch.manual_seed(0)
    params = TrainSisr(steps=2, warm_start_step=1, device="cpu", precision="float32")
    return Learner(build(CONFIG), params, Objective(params.loss, 2))


def _pixels(path: Path) -> Any:
    curated = Curated(path.parent)
    return curated.pixels(np.arange(len(curated.table)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind, all of them sound."""
    folder = tmp_path_factory.mktemp("whole")
    for kind in ("raw", "jpeg"):
        curated = make_curated(folder / kind, identities=2)
        if kind == "jpeg":
            pixels = np.load(curated / "hr-00000.npy")
            write_shards(curated, iter(pixels), len(pixels), 32, 100, "jpeg")
    columns = {
        "source": ["a"],
        "identity": ["b"],
        "reason": ["tiny"],
        "value": [1.0],
        "detail": [""],
    }
    pd.DataFrame(columns).to_parquet(folder / "rejects.parquet")
    save_model(folder / "model.safetensors", build(CONFIG))
    _learner().save(folder / "state.pt")
    (folder / "history.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    for name in ("summary.json", "metrics.json"):
        (folder / name).write_text('{"rendered": true, "psnr": {"bicubic": {"mean": 20.5}}}')
    (folder / "params.yaml").write_text("train_sisr: {steps: 10, warm_start_step: 5}\n")
    return folder


READERS: dict[str, Callable[[Path], Any]] = {
    "raw/manifest.parquet": _pixels,
    "raw/hr-00000.npy": _pixels,
    "jpeg/hr-00000.npy": _pixels,
    "jpeg/hr-00000.jpgs": _pixels,
    "rejects.parquet": lambda path: _rejects(path.parent),
    "summary.json": lambda path: (_summary(path.parent), _rendered(path)),
    "metrics.json": _read_metrics,
    "model.safetensors": load_model,
    "state.pt": lambda path: _learner().resume(path),
    "history.csv": lambda path: curves({"SISR": path}),
    "params.yaml": lambda path: load_section(path, "train_sisr"),
}


def _flipped(data: bytes, at: float) -> bytes:
    place = min(int(len(data) * at), len(data) - 1)
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "twice": lambda data: data + data,
    "a list": lambda data: b"[]",
    "a number": lambda data: b"3",
    "deep": lambda data: b"[" * 20_000,
    **{
        f"flipped at {at}": lambda data, at=at: _flipped(data, at)
        for at in (0, 0.02, 0.1, 0.5, 0.97, 1)
    },
}


def _read(name: str, path: Path) -> str:
    """ "read", or the message of the refusal."""
    try:
        READERS[name](path)
    except RefsrError as error:
        return str(error)
    return "read"


def _copy(whole: Path, name: str, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    return folder / name


@pytest.mark.parametrize("name", READERS)
def test_sound_files_are_read(whole: Path, name: str) -> None:
    assert _read(name, whole / name) == "read"


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named(
    whole: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path = _copy(whole, name, tmp_path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    expected_text = _read(name, path)
    assert expected_text == "read" or str(path.parent) in expected_text
    if damage in ("empty", "noise") and name not in ("params.yaml",):
        assert expected_text != "read"


@pytest.mark.parametrize("other", READERS)
@pytest.mark.parametrize("name", READERS)
def test_another_sound_file_in_its_place_is_read_or_named(
    whole: Path, tmp_path: Path, name: str, other: str
) -> None:
    path = _copy(whole, name, tmp_path)
    path.write_bytes((whole / other).read_bytes())
    expected_text = _read(name, path)
    assert expected_text == "read" or str(path.parent) in expected_text


@pytest.mark.parametrize(
    "config",
    [
        {"variant": "nonesuch"},
        {"variant": 3},
        {"model": None},
        {"blocks": 200_000},
        {"width": 10**9},
        {"width": 1024},
        {"width": -1},
        {"width": "4"},
        {"hr_size": True},
        {"latent": 1e300},
        {"what": 1},
    ],
)
def test_a_checkpoint_of_a_network_it_does_not_hold_is_named(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = tmp_path / "model.safetensors"
    header = {"refsr": json.dumps({"config": CONFIG | config, "facts": {}})}
    tensors = {key: value.contiguous() for key, value in build(CONFIG).state_dict().items()}
    save_file(tensors, path, metadata=header)
    with pytest.raises(RefsrError, match=r"model.safetensors: does not fit .*train again"):
        load_model(path)


@pytest.mark.parametrize(
    "header", ["3", "[]", "{}", '{"config": 3, "facts": {}}', '{"config": {}, "facts": []}', "["]
)
def test_a_checkpoint_without_a_configuration_is_named(tmp_path: Path, header: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"refsr": header})
    with pytest.raises(RefsrError, match=r"model.safetensors: .*train again"):
        load_model(path)
