"""Run the compiled training pipeline in its image, with S3, PostgreSQL and MLflow around it: see --help."""

import argparse
import contextlib
import os
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from kfp import components, local

from pipelines.cluster import load_cluster
from pipelines.compile import Work, arguments, build, compile_package, immutable_image
from pipelines.local import without_retries
from refsr.config import Register
from refsr.console import end_on_sigterm, exit_status, run_as_process
from refsr.errors import RefsrError
from refsr.integrations.registry import CANDIDATE, Registry
from refsr.io.paths import path_option, require_folder
from refsr.params import load_section
from tools import images, local_services

USER = 10001  # of the image
BUCKET = "mlflow"


def main(argv: Sequence[str] | None = None) -> int:
    """Start what a cluster has, run the pipeline, stop it all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.docker", description=__doc__)
    parser.add_argument(
        "--params", type=path_option, default=Path("params/tiny.yaml"), help="(default: params/tiny.yaml)"
    )
    parser.add_argument("--output", type=path_option, required=True, help="folder of artifacts, databases and logs")
    parser.add_argument("--image", help="image to run (default: that of this revision, built where it is not there)")
    parser.add_argument("--base", help="where it is built: the image to build on")
    end_on_sigterm()
    return exit_status(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    output = options.output.absolute()
    require_folder(output)
    image = options.image or _of_this_revision(options.base)
    print(f"{image}: registered as version {run(output, options.params, image)}")


def _of_this_revision(base: str | None) -> str:
    image = immutable_image("localhost/refsr-cpu")
    return image if images.exists(image) else images.build("cpu", base=base)


def run(folder: Path, params: Path, image: str) -> str:
    """Every task as a container of `image`, with a read-only root and without root's rights; the version registered.

    Raises RefsrError where a task fails or nothing was registered; what was started is stopped all the same.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RefsrError(f"{folder}: not empty; name a new folder with --output, or remove it")
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(local_services.s3_server(folder / "s3", BUCKET))
        database = stack.enter_context(local_services.postgres(folder / "postgres"))
        server = stack.enter_context(local_services.mlflow_server(folder / "mlflow", database, s3, BUCKET))
        address = stack.enter_context(local_services.docker_engine(folder / "docker"))
        _load(image, address)
        _run_package(folder / "tasks", params, image, server, address)
        return _registered(server, params)


def _load(image: str, address: str) -> None:
    """Hand the image to the engine at `address`, from the one that built it, unless it has it already."""
    import docker

    with contextlib.closing(docker.DockerClient(base_url=address, timeout=600)) as client:
        if any(image in known.tags for known in client.images.list()):
            return
        with subprocess.Popen([images.engine(), "save", image], stdout=subprocess.PIPE) as saved:  # noqa: S603
            client.images.load(saved.stdout)
        if saved.returncode:
            raise RefsrError(f"{image}: {Path(images.engine()).name} could not save it; build it with `make images`")


def _run_package(root: Path, params: Path, image: str, server: str, address: str) -> None:
    root.mkdir()
    user = os.geteuid() or USER
    os.chown(root, user, -1)
    work = Work(params)
    pipeline = build(work, image, without_retries(load_cluster()))
    inputs = arguments(pipeline, work, server)
    package = root.parent / "training.yaml"
    compile_package(package, pipeline)
    os.environ["DOCKER_HOST"] = address  # where kfp looks for the engine
    runner = local.DockerRunner(user=str(user), network_mode="host", read_only=True, tmpfs={"/tmp": "mode=1777"})  # noqa: S108
    local.init(runner, pipeline_root=str(root))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
        try:
            components.load_component_from_file(str(package))(**inputs)
        except RuntimeError as error:
            raise RefsrError("the pipeline failed; what its task said stands above") from error


def _registered(server: str, params: Path) -> str:
    """kfp takes a container that is gone before it could be asked how it ended for a success: so look here."""
    section = cast(Register, load_section(params, "register"))
    version = Registry(server, section.name).aliases().get(CANDIDATE)
    if version is None:
        raise RefsrError("the pipeline ended, and no version is registered; what its tasks said stands above")
    return version


if __name__ == "__main__":
    run_as_process(main)
