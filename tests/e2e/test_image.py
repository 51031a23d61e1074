"""`make pipeline-docker`: the pipeline in the image of this commit, if that is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import let_others_in

from pipelines.compile import immutable_image
from refsr.errors import RefsrError
from tools import docker, images

ROOT = Path(__file__).parents[2]


@pytest.fixture
def image() -> str:
    """REFSR_IMAGE, or the image of this commit. A build takes longer than all other tests."""
    try:
        name = os.environ.get("REFSR_IMAGE") or immutable_image("localhost/refsr-cpu")
        missing = (
            None if images.exists(name) else f"there is no image {name}; `make images` builds it"
        )
    except RefsrError as error:
        missing = str(error)
    if missing:
        pytest.skip(f"NOT TESTED, the pipeline in its image: {missing}")
    return name


@pytest.mark.timeout(1200)
def test_the_pipeline_runs_in_its_image(image: str, tmp_path: Path) -> None:
    let_others_in(tmp_path)
    command = [
        sys.executable,
        "-m",
        "tools.docker",
        "--image",
        image,
        "--output",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f"{image}: registered as version 1"
    assert not (tmp_path / "run/docker/data").exists()


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(RefsrError, match="not empty"):
        docker.run(tmp_path, ROOT / "params/tiny.yaml", "localhost/refsr-cpu:none")
