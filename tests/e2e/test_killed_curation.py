"""A curation that is killed while it measures goes on where it was,
and ends in the bytes of one left alone.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import holds_only_finished

from components.shell import STATE
from refsr.config import Synthesize
from refsr.steps.synthesize import synthesize
from refsr.tracker import NullTracker

ROOT = Path(__file__).parents[2]
# The command line itself, but that what is measured is put on the disk after every identity.
CLI = (
    "import sys; from refsr.curation import feature_store; feature_store.FLUSH = 1; "
    "from refsr.__main__ import main; sys.exit(main())"
)
# A task of a pipeline: its pod copies the raw set, which is an artifact, anew.
POD = """
import sys
from pathlib import Path
from types import SimpleNamespace
import yaml
from refsr.curation import feature_store
from components.shell import run

feature_store.FLUSH = 1
pod, store_uri = Path(sys.argv[1]), sys.argv[2]
params = yaml.safe_load((pod.parent / "params.yaml").read_text())["curate"]
artifacts = {
    name: SimpleNamespace(path=str(pod / name), uri=f"s3://bucket/{name}", metadata={})
    for name in ("raw", "curated")
}
run("curate", params, store_uri, SimpleNamespace(path="", metadata={}), **artifacts, shard="")
"""
PARAMS = "curate: {hr_size: 32, train_identities: 10, test_identities: 4, shard_images: 16}\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("killed")
    params = Synthesize(
        train_identities=10, test_identities=4, views=4, min_size=96, max_size=128, defects=1
    )
    synthesize(params, NullTracker(), raw=tmp_path / "raw")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path / "raw"


@pytest.fixture(scope="module")
def whole(raw: Path) -> int:
    """The images of a run that is left alone, in the folder `whole`."""
    return finished(start(raw, "whole"))


def start(raw: Path, curated: str) -> "subprocess.Popen[str]":
    return _python(raw, CLI, "curate", "--raw", str(raw), "--curated", curated)


def start_pod(raw: Path, name: str) -> "subprocess.Popen[str]":
    shutil.copytree(
        raw, raw.parent / name / "raw", copy_function=shutil.copyfile
    )  # with times of their own
    return _python(raw, POD, str(raw.parent / name), f"sqlite:///{raw.parent}/mlflow.db")


def _python(raw: Path, code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{raw.parent}/mlflow.db",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=raw.parent,
        env=environment | {STATE: str(raw.parent / "state")},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finished(run: "subprocess.Popen[str]") -> int:
    """The images whose features it had to extract."""
    log = run.communicate()[1]
    assert run.returncode == 0, log
    counts = re.findall(r"extracts features of (\d+) images", log)
    return sum(map(int, counts))


def kill_while_measuring(run: "subprocess.Popen[str]", folder: Path) -> None:
    """As the kernel or a node that fails would: nothing is told to the run."""
    while not list(folder.glob("**/work/measured/*.json")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_killed_while_it_measures_ends_in_the_same_bytes(raw: Path, whole: int) -> None:
    kill_while_measuring(start(raw, "killed"), raw.parent / "killed.partial")
    assert not (raw.parent / "killed").exists()
    rest = finished(start(raw, "killed"))
    assert 0 < rest < whole
    assert bytes_of(raw.parent / "killed") == bytes_of(raw.parent / "whole")
    assert {"manifest.parquet", "rejects.parquet", "summary.json", "hr-00000.npy"} < set(
        bytes_of(raw.parent / "killed")
    )


def test_a_task_whose_pod_is_killed_goes_on_in_another(raw: Path, whole: int) -> None:
    kill_while_measuring(start_pod(raw, "pod-1"), raw.parent / "state")
    rest = finished(start_pod(raw, "pod-2"))
    assert 0 < rest < whole
    assert bytes_of(raw.parent / "pod-2/curated") == bytes_of(raw.parent / "whole")
    assert holds_only_finished(raw.parent / "state")
