"""What happens when a pod is killed in training,
and when the tracking server goes away under it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers import make_curated

from components.shell import RUN, STATE
from refsr.integrations.mlflow_store import open_store
from tools.local_services import mlflow_server

ROOT = Path(__file__).parents[2]
# The body of the component, as the launcher calls it: artifacts are paths in the pod, and each pod
# has its own. Numbers are held back for seconds, pictures are not: with one every ten steps a lost
# server is noticed long before the end.
POD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from components.shell import run

folder, shared, tracking_uri = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
params = {"steps": 90, "warm_start_step": 5, "batch_size": 2, "warmup_steps": 2}
params |= {"save_every": 1, "log_every": 1, "image_every": 10, "precision": "float32"}
params |= {"model": {"width": 16, "blocks": 1}}
paths = {"curated": shared / "curated", "validation": shared / "validation"}
paths["sisr"] = folder / "sisr"
artifacts = {name: SimpleNamespace(path=str(path), metadata={}) for name, path in paths.items()}
run("train_sisr", params, tracking_uri, SimpleNamespace(path="", metadata={}), **artifacts)
"""


class Node:
    """Where pods of one pipeline run are started:
    what they share, and a folder of each pod's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        make_curated(folder / "curated", identities=6, train=4)
        (folder / "validation").mkdir()

    def start(self, pod: str, tracking_uri: str) -> "subprocess.Popen[str]":
        (self.folder / pod).mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            STATE: str(self.folder / "state"),
            RUN: "run-1",
        }
        environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "OMP_NUM_THREADS": "1"}
        environment.pop("MLFLOW_RUN_ID", None)
        command = [
            sys.executable,
            "-c",
            POD,
            str(self.folder / pod),
            str(self.folder),
            tracking_uri,
        ]
        return subprocess.Popen(
            command,
            cwd=self.folder / pod,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def await_checkpoint(self, pod: "subprocess.Popen[str]") -> None:
        """Until the training has saved more than once."""
        seen = set()
        while len(seen) < 3:
            assert pod.poll() is None, pod.communicate()[0]
            seen |= {path.stat().st_mtime_ns for path in self.folder.glob("state/*/sisr/state.pt")}
            time.sleep(0.005)

    def weights(self, pod: str) -> bytes:
        return (self.folder / pod / "sisr/model.safetensors").read_bytes()


def _finish(pod: "subprocess.Popen[str]") -> str:
    output, _ = pod.communicate(timeout=300)
    assert pod.returncode == 0, output
    return output


def test_a_training_outlives_its_tracking_server_and_its_pod(
    empty_store: Path, tmp_path: Path
) -> None:
    """The server goes: it ends with one message.

    The next pod is killed. The third ends as if nothing had been.
    """
    node, store = Node(tmp_path / "node"), f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    undisturbed = node.start("undisturbed", store)
    with mlflow_server(tmp_path / "server", store) as uri:
        _finish(undisturbed)
        cut_off = node.start("cut-off", uri)
        node.await_checkpoint(cut_off)
    output, _ = cut_off.communicate(timeout=300)
    assert cut_off.returncode == 1
    assert f"refsr: error: tracking store {uri}:" in output
    assert "Traceback" not in output
    killed = node.start("killed", store)
    node.await_checkpoint(killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (node.folder / "killed/sisr").exists()
    output = _finish(node.start("retried", store))
    assert " 0/90" not in output, "it began anew"
    assert node.weights("retried") == node.weights("undisturbed")
    assert not list((node.folder / "state").iterdir())
    _require_one_parent(store, tries=4)


def _require_one_parent(store: str, tries: int) -> None:
    """Every try is a child of the one run of the pipeline."""
    client = open_store(store).MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'refsr'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "pipeline"]
    children = [run.data.tags.get("mlflow.parentRunId") for run in runs if run is not parent]
    assert children == [parent.info.run_id] * tries
