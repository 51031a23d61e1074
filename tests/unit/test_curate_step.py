"""The step as it is run: rendered faces, the real identity network,
and what the tracker is given.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from refsr.config import Curate, Synthesize, Validate
from refsr.dataset.curated import Curated
from refsr.steps.curate import curate
from refsr.steps.synthesize import synthesize
from refsr.steps.validate import validate
from refsr.tracker import NullTracker


class Recorder(NullTracker):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.images: dict[str, np.ndarray] = {}
        self.artifacts: list[str] = []

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        self.images[key] = image

    def artifact(self, path: Path, folder: str = "") -> None:
        self.artifacts.append(path.name)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered") / "raw"
    params = Synthesize(
        train_identities=5, test_identities=3, views=4, min_size=96, max_size=128, defects=1
    )
    synthesize(params, NullTracker(), raw=folder)
    return folder


def test_rendered_faces_are_curated_and_pass_validation(raw: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    metrics = curate(
        Curate(hr_size=64, min_sharpness=0.17), recorder, raw=raw, curated=tmp_path / "curated"
    )
    # The folder of two people may pass:
    # of so few groups it is not known how much one person varies.
    assert metrics["identities.train"] in (5, 6)
    assert metrics["identities.test"] == 3
    for kind in ("zero_byte", "not_jpeg", "truncated", "tiny", "box_outside", "blurred"):
        assert metrics[f"precision.{kind}"] == metrics[f"recall.{kind}"] == 1, kind
    sheet = recorder.images["contact_sheet"]
    assert sheet.dtype == np.uint8
    assert sheet.shape == ((metrics["identities.train"] + 3) * 64, 8 * 64, 3)
    assert recorder.artifacts == ["summary.json", "rejects.parquet"]
    summary = json.loads((tmp_path / "curated" / "summary.json").read_text())
    assert summary["rendered"] is True
    assert summary["images.train"] == len(Curated(tmp_path / "curated").split("train"))
    validate(
        Validate(), NullTracker(), curated=tmp_path / "curated", validation=tmp_path / "validation"
    )
