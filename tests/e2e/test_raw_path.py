"""`data.raw` may name any folder: no part of it reaches a shell."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import run_in

ROOT = Path(__file__).parents[2]
RAW = "data/my 'faces';touch X;$(touch Y)"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `dvc repro curate` needs, without git."""
    for name in ("refsr", "dvc.yaml", ".dvcignore", "constraints.txt", "weights.txt"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    document = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    document["data"]["raw"] = RAW
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    run_in(tmp_path, sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet")
    run_in(tmp_path, sys.executable, "-m", "refsr", "synthesize", "--raw", RAW)
    return tmp_path


def test_dvc_curates_a_raw_set_of_any_name(checkout: Path) -> None:
    output = run_in(checkout, sys.executable, "-m", "dvc", "repro", "curate")
    assert (checkout / "data/curated/manifest.parquet").is_file(), output
    assert not [*checkout.rglob("X"), *checkout.rglob("Y")]
    assert "Running stage" not in run_in(checkout, sys.executable, "-m", "dvc", "repro", "curate")
