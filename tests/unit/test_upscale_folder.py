"""A folder of images: whatever one of them does, the others are upscaled and it has a row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_trees import draw, jpeg

import refsr.steps.upscale_folder as step
from refsr.errors import RefsrError
from refsr.inference.serving_model import ServingModel
from refsr.models import build
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compatibility import DIFFERENCES, Compatibility
from refsr.side_config import UpscaleFolder
from refsr.tracker import NullTracker

WHOLE = jpeg(draw(1, 1))
CONFIG = {
    "model": "refsr",
    "variant": "compact",
    "width": 16,
    "blocks": 1,
    "hr_size": 32,
    "scale": 4,
}
BAD = {
    "cut": WHOLE[: len(WHOLE) // 2],
    "ended": WHOLE[: len(WHOLE) // 2] + b"\xff\xd9",
    "empty": b"",
    "text": b"no image",
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A model, and images of which the first and last are whole."""
    (tmp_path / "model").mkdir()
    network = build(CONFIG)
    network.compatibility = Compatibility((0.0,) * DIFFERENCES, -2.0)  # type: ignore[assignment]
    save_model(tmp_path / "model" / "model.safetensors", network)
    small, references = tmp_path / "pairs" / "small", tmp_path / "pairs" / "ref"
    small.mkdir(parents=True)
    references.mkdir()
    for name, data in {"a": WHOLE, **BAD, "z": WHOLE}.items():
        (small / f"{name}.jpg").write_bytes(data)
    (small / "folder.png").mkdir()
    return {"refsr": tmp_path / "model", "pairs": tmp_path / "pairs", "upscaled": tmp_path / "out"}


def run(folders: dict[str, Path]) -> tuple[dict[str, float], pd.Series]:
    """The metrics of a run, and the reason of each image that failed."""
    metrics = step.upscale_folder(UpscaleFolder(device="cpu"), NullTracker(), **folders)
    return metrics, pd.read_csv(folders["upscaled"] / "rejects.csv").set_index("name")["reason"]


def test_each_damaged_image_has_a_row_and_all_others_are_written(folders: dict[str, Path]) -> None:
    metrics, reasons = run(folders)
    assert set(reasons.index) == {*BAD, "folder"}
    assert {path.name for path in folders["upscaled"].iterdir()} == {
        "a.png",
        "z.png",
        "rejects.csv",
        "compatibility.csv",
    }
    assert (metrics["images"], metrics["rejects"]) == (7, 5)


def test_the_score_of_each_reference_is_a_row(folders: dict[str, Path]) -> None:
    (folders["pairs"] / "ref" / "z.jpg").write_bytes(WHOLE)
    metrics, _ = run(folders)
    assert (
        folders["upscaled"] / "compatibility.csv"
    ).read_text() == "name,compatibility\nz,0.1192\n"
    assert metrics["misfits"] == 1  # of a model that doubts everything
    model = load_model(folders["refsr"] / "model.safetensors")
    lr = np.full((1, 8, 8, 3), 90, np.uint8)
    served = ServingModel(model).predict({"lr": lr, "ref": lr})
    assert served["compatibility"] == [pytest.approx(0.1192, abs=1e-4)]


def test_a_damaged_reference_is_a_row_too(folders: dict[str, Path]) -> None:
    (folders["pairs"] / "ref" / "a.jpg").write_bytes(BAD["ended"])
    assert "a" in run(folders)[1].index


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("odd"), OSError(5, "odd"), ValueError("two\nlines")]
)
def test_whatever_is_raised_the_others_are_done(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    upscale = step.upscale

    def fail_once(model: object, image: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        monkeypatch.setattr(step, "upscale", upscale)
        raise error

    monkeypatch.setattr(step, "upscale", fail_once)
    reasons = run(folders)[1]
    assert type(error).__name__ in reasons["a"]
    assert (folders["upscaled"] / "z.png").is_file()


def test_where_nothing_is_left_it_is_one_message(folders: dict[str, Path]) -> None:
    for name in "az":
        (folders["pairs"] / "small" / f"{name}.jpg").write_bytes(BAD["ended"])
    with pytest.raises(
        RefsrError, match=r"none of 7 images could be upscaled; the first: .*a\.jpg"
    ):
        run(folders)
