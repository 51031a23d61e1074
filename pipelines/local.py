"""Run a pipeline on this machine, without Kubernetes; each task is a process."""

import argparse
import contextlib
import os
import shlex
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp import components, local

from components.shell import RUN, STATE
from pipelines.cluster import Cluster, load_cluster
from pipelines.command_line import run_command
from pipelines.compile import Work, arguments, build, compile_package
from pipelines.options import add_work_options, work_of
from refsr.console import run_as_process
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.io.paths import path_option, require_folder, require_writable
from refsr.redaction import Parser

IGNORED_WARNINGS = (  # images and limits have no effect here
    "You may be attemping to run a task that uses custom",
    ".*have no effect in the current local runner",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Compile a pipeline and run it; returns the exit status."""
    parser = Parser(prog="python -m pipelines.local", description=__doc__)
    add_work_options(parser)
    add = parser.add_argument
    add(
        "--cluster",
        type=path_option,
        help="cluster file; only the numbers of shards have an effect here",
    )
    add(
        "--output",
        type=path_option,
        required=True,
        help="folder of the package, the artifacts and the MLflow store",
    )
    parser.set_defaults(command=_run)
    return run_command(parser, argv)


def _run(options: argparse.Namespace) -> None:
    folder = options.output.absolute()
    require_folder(folder)
    require_writable(folder)
    print(run(folder, work_of(options), load_cluster(options.cluster)))


def run(folder: Path, work: Work, cluster: Cluster) -> Path:
    """Run a pipeline in `folder`, with an MLflow store there.

    Args:
        folder: folder of all output.
        work: what to run.
        cluster: settings; only the numbers of shards have an effect.

    Returns:
        The folder of the tasks' artifacts.

    Raises:
        RefsrError: if a task fails; its own message is in the output.
    """
    pipeline = build(work, "refsr:local", without_retries(cluster))
    folder.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{folder}/mlflow.db"
    open_store(store)  # creates the tables before two tasks do so at once
    values = arguments(pipeline, work, store)
    package = folder / f"{work.graph}.yaml"
    compile_package(package, pipeline)
    before = set(folder.glob(f"{pipeline.name}-*"))
    os.environ |= {RUN: str(uuid.uuid4()), STATE: str(folder / "state")}  # as in a pod
    try:
        _run_package(package, values, folder)
    except RuntimeError as error:
        raise RefsrError("the pipeline failed; the error of its task is above") from error
    (artifacts,) = set(folder.glob(f"{pipeline.name}-*")) - before
    return artifacts


def without_retries(cluster: Cluster) -> Cluster:
    """The cluster with no retries: on one machine a failed task would fail again."""
    no_retries = {"retries": 0}
    tasks = {name: task.model_copy(update=no_retries) for name, task in cluster.tasks.items()}
    return cluster.model_copy(update={"tasks": tasks})


def _run_package(package: Path, values: Mapping[str, Any], folder: Path) -> None:
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
    with warnings.catch_warnings(), _quoted_executable():
        for message in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        components.load_component_from_file(str(package))(**values)


@contextlib.contextmanager
def _quoted_executable() -> Iterator[None]:
    """Quote sys.executable: kfp puts it unquoted into a shell command, which spaces break."""
    plain = sys.executable
    sys.executable = shlex.quote(plain)
    try:
        yield
    finally:
        sys.executable = plain


if __name__ == "__main__":
    run_as_process(main)
