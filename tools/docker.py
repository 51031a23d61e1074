"""Run the training pipeline in its image under docker, with S3, PostgreSQL and an MLflow server."""

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
from pipelines.command_line import run_command
from pipelines.compile import Work, arguments, build, compile_package, immutable_image
from pipelines.local import without_retries
from refsr.config import Register
from refsr.console import end_on_sigterm, run_as_process
from refsr.errors import RefsrError
from refsr.integrations.registry import CANDIDATE, Registry
from refsr.io.paths import path_option, require_folder, require_writable
from refsr.params import load_section
from tools import images, local_services

USER = 10001  # of the image
BUCKET = "mlflow"
PARAMS = Path("params/tiny.yaml")
SAVE_TIMEOUT = 600  # seconds; an image has gigabytes


def main(argv: Sequence[str] | None = None) -> int:
    """Start the services, run the pipeline, stop the services; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.docker", description=__doc__)
    add = parser.add_argument
    add("--params", type=path_option, default=PARAMS, help=f"params file (default: {PARAMS})")
    output = "new folder of artifacts, databases and logs"
    add("--output", type=path_option, required=True, help=output)
    add("--image", help="image to run (default: that of this revision, built if it is missing)")
    add("--base", help="base of an image that is built")
    parser.set_defaults(command=_run)
    end_on_sigterm()
    return run_command(parser, argv)


def _run(options: argparse.Namespace) -> None:
    folder = options.output.absolute()
    require_folder(folder)
    require_writable(folder)
    image = options.image or _image_of_revision(options.base)
    version = run(folder, options.params, image)
    print(f"{image}: registered as version {version}")


def _image_of_revision(base: str | None) -> str:
    image = immutable_image("localhost/refsr-cpu")
    return image if images.exists(image) else images.build("cpu", base=base)


def run(folder: Path, params: Path, image: str) -> str:
    """Run every task as a container of `image`, with a read-only root and without privileges.

    Returns:
        The registered version.

    Raises:
        RefsrError: if a task fails or no version is registered. The services are stopped.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RefsrError(f"{folder}: not empty; pass a new folder with --output, or remove it")
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        s3 = start(local_services.s3_server(folder / "s3", BUCKET))
        database = start(local_services.postgres(folder / "postgres"))
        mlflow = local_services.mlflow_server(folder / "mlflow", database, s3, BUCKET)
        server = start(mlflow)
        address = start(local_services.docker_engine(folder / "docker"))
        _load(image, address)
        _run_package(folder / "tasks", params, image, server, address)
        return _registered(server, params)


def _load(image: str, address: str) -> None:
    """Copy the image to the engine at `address`, unless that engine has it."""
    import docker

    client = docker.DockerClient(base_url=address, timeout=SAVE_TIMEOUT)
    with contextlib.closing(client):
        if any(image in each.tags for each in client.images.list()):
            return
        save = [images.engine(), "save", image]
        with subprocess.Popen(save, stdout=subprocess.PIPE) as process:  # noqa: S603
            client.images.load(process.stdout)
        if process.returncode:
            engine = Path(images.engine()).name
            raise RefsrError(f"{image}: {engine} cannot save it; build it with `make images`")


def _run_package(root: Path, params: Path, image: str, server: str, address: str) -> None:
    root.mkdir()
    user = os.geteuid() or USER
    os.chown(root, user, -1)
    work = Work(params)
    pipeline = build(work, image, without_retries(load_cluster()))
    values = arguments(pipeline, work, server)
    package = root.parent / "training.yaml"
    compile_package(package, pipeline)
    os.environ["DOCKER_HOST"] = address  # kfp reads it
    runner = local.DockerRunner(
        user=str(user),
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108
    )
    local.init(runner, pipeline_root=str(root))
    with warnings.catch_warnings():
        ignored = ".*have no effect in the current local runner"
        warnings.filterwarnings("ignore", message=ignored)
        try:
            components.load_component_from_file(str(package))(**values)
        except RuntimeError as error:
            raise RefsrError("the pipeline failed; the error of its task is above") from error


def _registered(server: str, params: Path) -> str:
    """The registered version.

    kfp takes a container that ends before it is inspected for a success, so check the registry.
    """
    section = cast(Register, load_section(params, "register"))
    version = Registry(server, section.name).aliases().get(CANDIDATE)
    if version is None:
        raise RefsrError(
            "the pipeline ended and no version is registered; the output of its tasks is above"
        )
    return version


if __name__ == "__main__":
    run_as_process(main)
