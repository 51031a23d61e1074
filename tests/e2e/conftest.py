"""What the end-to-end tests share: one run of `dvc repro` in a scratch copy of the repository."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import commit_all, run_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny profile, in float32 whatever this machine is quicker in: a params file.

    Its test people do not fit into one batch, so that each of two shards has some.
    """
    document = yaml.safe_load((ROOT / "params/tiny.yaml").read_text())
    for stage in ("train_sisr", "train_refsr"):
        document[stage]["precision"] = "float32"
    document["evaluate"]["batch_size"] = 8
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def scratch(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would hand to a new user, with the tiny profile, reproduced once."""
    folder = tmp_path_factory.mktemp("scratch") / "a new user"
    listed = run_in(
        ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard"
    ).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copy(tiny, folder / "params.yaml")
    run_in(folder, "git", "init", "--quiet")
    commit_all(folder, "start")
    run_in(folder, sys.executable, "-m", "dvc", "repro")
    return folder
