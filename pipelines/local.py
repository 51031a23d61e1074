"""Run a compiled pipeline on this machine, without Kubernetes: `python -m pipelines.local --help`."""

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
from pipelines.compile import Work, arguments, build, compile_package
from pipelines.submit import add_run_options, work_of
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.io.paths import file_errors_as_messages, path_option, require_folder, require_writable
from refsr.redaction import Parser, print_exception


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, and run every task as a process; returns the exit status."""
    parser = Parser(prog="python -m pipelines.local", description=__doc__)
    add_run_options(parser)
    parser.add_argument(
        "--cluster", type=path_option, help="cluster file; of it only `curate_shards` means anything here"
    )
    parser.add_argument(
        "--output", type=path_option, required=True, help="folder of the package, the artifacts and the store"
    )
    try:
        with file_errors_as_messages():
            options = parser.parse_args(argv)
            require_folder(options.output.absolute())
            require_writable(options.output.absolute())
            print(run(options.output.absolute(), work_of(options), load_cluster(options.cluster)))
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    return 0


def run(folder: Path, work: Work, cluster: Cluster) -> Path:
    """The pipeline run in `folder`, with a store of its own there; returns the folder of its tasks' artifacts.

    Raises RefsrError where a task fails: what the task itself said has been printed by then.
    """
    pipeline = build(work, "refsr:local", without_retries(cluster))
    folder.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{folder}/mlflow.db"
    open_store(store)  # two first tasks at once would both make its tables
    inputs = arguments(pipeline, work, store)
    package = folder / f"{work.graph}.yaml"
    compile_package(package, pipeline)
    before = set(folder.glob(f"{pipeline.name}-*"))
    os.environ |= {RUN: str(uuid.uuid4()), STATE: str(folder / "state")}  # as pods have them
    try:
        _run_package(package, inputs, folder)
    except RuntimeError as error:
        raise RefsrError("the pipeline failed; what its task said stands above") from error
    (made,) = set(folder.glob(f"{pipeline.name}-*")) - before
    return made


def without_retries(cluster: Cluster) -> Cluster:
    """On this machine a task that failed would fail again."""
    tasks = {name: task.model_copy(update={"retries": 0}) for name, task in cluster.tasks.items()}
    return cluster.model_copy(update={"tasks": tasks})


def _run_package(package: Path, inputs: Mapping[str, Any], folder: Path) -> None:
    """Each task as a process of this Python; kfp warns that images and limits mean nothing then, which is known."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
    with warnings.catch_warnings(), _executable_fit_for_a_shell():
        warnings.filterwarnings("ignore", message="You may be attemping to run a task that uses custom")
        warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
        components.load_component_from_file(str(package))(**inputs)


@contextlib.contextmanager
def _executable_fit_for_a_shell() -> Iterator[None]:
    """kfp writes sys.executable into a shell command as it is, which breaks where a folder has a space in its name."""
    plain = sys.executable
    sys.executable = shlex.quote(plain)
    try:
        yield
    finally:
        sys.executable = plain


if __name__ == "__main__":
    sys.excepthook = print_exception
    sys.exit(main())
