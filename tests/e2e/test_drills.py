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
from refsr.integrations.journaled_run import deliver_left
from refsr.integrations.mlflow_store import open_store
from refsr.io.servers import no_answer
from tools.local_services import mlflow_server

ROOT = Path(__file__).parents[2]
# The body of the component, as the launcher calls it: artifacts are paths in the pod, and each pod
# has its own.
POD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from components.shell import run

folder, shared, tracking_uri = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
params = {"steps": 60, "warm_start_step": 5, "batch_size": 2, "warmup_steps": 2}
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

    def start(self, pod: str, tracking_uri: str, state: str = "state") -> "subprocess.Popen[str]":
        (self.folder / pod).mkdir()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            STATE: str(self.folder / state),
            RUN: "run-1",
        }
        environment["OMP_NUM_THREADS"] = "1"
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
        before = self._saved()
        while len(self._saved() - before) < 3:
            assert pod.poll() is None, pod.communicate()[0]
            time.sleep(0.005)

    def _saved(self) -> set[str]:
        return {path.name for path in self.folder.glob("state/*/sisr/state/*.pt")}

    def weights(self, pod: str) -> bytes:
        return (self.folder / pod / "sisr/model.safetensors").read_bytes()


def _finish(pod: "subprocess.Popen[str]") -> str:
    output, _ = pod.communicate(timeout=300)
    assert pod.returncode == 0, output
    return output


def test_a_training_outlives_its_tracking_server_and_its_pod(
    empty_store: Path, tmp_path: Path
) -> None:
    """The server goes, then the pod is killed. The next pod goes on without a server.

    Once the server is back, one run has every number and every picture, and each once.
    """
    node, store = Node(tmp_path / "node"), f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    undisturbed = node.start("undisturbed", store, state="another")
    with mlflow_server(tmp_path / "server", store) as uri:
        _finish(undisturbed)
        killed = node.start("killed", uri)
        node.await_checkpoint(killed)
        killed.send_signal(signal.SIGSTOP)
    while no_answer(f"{uri}/health", timeout=5) is None:
        time.sleep(0.1)
    killed.send_signal(signal.SIGCONT)
    node.await_checkpoint(killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (node.folder / "killed/sisr").exists()
    retried = node.start("retried", uri)
    node.await_checkpoint(retried)
    retried.send_signal(signal.SIGSTOP)
    with mlflow_server(tmp_path / "again", store, port=int(uri.rpartition(":")[2])):
        retried.send_signal(signal.SIGCONT)
        output = _finish(retried)
        deliver_left(uri, [], node.folder / "state")  # where a busy machine was too slow
    assert "no answer" in output
    assert " 0/60" not in output, "it began anew"
    assert node.weights("retried") == node.weights("undisturbed")
    _require_whole_runs(store, steps=60)


def _require_whole_runs(store: str, steps: int) -> None:
    """Two trainings, both whole, are children of the one run of the pipeline."""
    client = open_store(store).MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'refsr'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "pipeline"]
    children = [run for run in runs if run is not parent]
    assert len(children) == 2
    for run in children:
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == (
            "FINISHED",
            parent.info.run_id,
        )
        assert "error" not in run.data.tags
        series = client.get_metric_history(run.info.run_id, "loss")
        assert sorted(each.step for each in series) == list(range(1, steps + 1))
        pictures = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
        whole = [path for path in pictures if path.endswith(".png")]
        assert len(whole) == steps // 10, pictures
