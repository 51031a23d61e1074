"""Build and push the image of the tasks, with podman or docker."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pipelines.command_line import run_command
from pipelines.compile import immutable_image
from refsr.console import run_as_process
from refsr.errors import RefsrError
from refsr.io.paths import path_option, require_folder, require_writable
from tools.manifests import write_image

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "containers"
TARGETS = ("cpu", "gpu")
PYTHON = "3.11"  # of the base image and of the lock files
GLIBC = range(5, 37)  # manylinux_2_5 to 2_36, that of Debian 12
MEGABYTES = {"cpu": 2500, "gpu": 12000}  # a larger image is refused
SBOM = "/opt/project/sbom.cdx.json"  # in the image


def main(argv: Sequence[str] | None = None) -> int:
    """Build an image, push it if a registry is named; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    add = parser.add_argument
    add("target", choices=TARGETS)
    add("--registry", help="push to REGISTRY/refsr-TARGET, for example registry.example/faces")
    add("--tag", help="tag of a working tree with changes (default: the git revision)")
    add("--base", help="base image with Python 3.11 and venv (default: BASE of the Containerfile)")
    sbom = "folder of the bill of materials (default: build)"
    add("--sbom", type=path_option, default=ROOT / "build", help=sbom)
    parser.set_defaults(command=_run)
    return run_command(parser, argv)


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    require_folder(options.sbom.absolute())
    require_writable(options.sbom.absolute())
    image = build(options.target, options.tag, options.base)
    seconds = time.monotonic() - started
    size = _checked_size(image, options.target)
    sbom = write_sbom(image, options.sbom)
    print(f"{image}: {size} MB, built in {seconds:.0f} s, {sbom}")
    if options.registry:
        image = push(image, options.registry)
        print(f"pushed {image}")
        image = with_digest(image)
    write_image(image)


def build(target: str, tag: str | None = None, base: str | None = None) -> str:
    """Build the image refsr-TARGET from the wheels of its lock file.

    Returns:
        Its name, `localhost/refsr-cpu:<commit>`.

    Raises:
        RefsrError: if no engine is installed, a wheel cannot be downloaded, or the build fails.
    """
    name = f"localhost/refsr-{target}"
    image = immutable_image(f"{name}:{tag}" if tag else name)
    revision = image.rpartition(":")[2]
    fetch_wheels(target)
    arguments = {"TARGET": target, "REVISION": revision}
    if base:
        arguments["BASE"] = base
    command = ["build", "--network", "none", "--target", target, "--tag", image]
    command += ["--file", str(CONTAINERS / "Containerfile")]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    run_engine(*command, str(ROOT))
    # Runs are recorded under this revision.
    if f"REFSR_REVISION={revision}" not in _inspect(image)["Config"]["Env"]:
        raise RefsrError(
            f"{image}: REFSR_REVISION in the image is another revision; "
            "build it without the engine's cache"
        )
    return image


def fetch_wheels(target: str) -> Path:
    """Download the wheels of the lock files into build/wheels/TARGET, unless they are complete.

    pip downloads them with its configuration on this machine (proxy, mirror) and checks hashes.
    """
    folder = ROOT / "build" / "wheels" / target
    stamp = folder / "complete"
    if stamp.is_file() and stamp.read_text() == lock_state(target):
        return folder
    partial = folder.with_name(f"{target}.partial")
    try:
        subprocess.run(_download(target, folder, partial), check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise RefsrError(
            f"{_locks(target)[0]}: pip could not download its wheels (see above). "
            "If torch with +cpu is missing: PyPI does not have it; set PIP_EXTRA_INDEX_URL to "
            "PyTorch's index of CPU wheels, or PIP_FIND_LINKS to a folder of wheels"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    stamp.write_text(lock_state(target))
    return folder


def _download(target: str, existing: Path, output: Path) -> list[str]:
    """pip's command for the wheels of the base image, whatever Python this machine has."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC]
    platforms += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    platforms += ["linux_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes"]
    command += ["--python-version", PYTHON, "--implementation", "cp"]
    command += ["--dest", str(output)]
    for platform in platforms:
        command += ["--platform", platform]
    if existing.is_dir():
        command += ["--find-links", str(existing)]
    for lock in _locks(target):
        command += ["-r", str(lock)]
    return command


def lock_state(target: str) -> str:
    """A hash of the lock files."""
    data = b"".join(lock.read_bytes() for lock in _locks(target))
    return hashlib.sha256(data).hexdigest()


def _locks(target: str) -> list[Path]:
    return [CONTAINERS / f"{target}.lock", CONTAINERS / "build.lock"]


def write_sbom(image: str, folder: Path) -> Path:
    """Copy the bill of materials (CycloneDX: Python packages and licences) out of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    name = image.rpartition("/")[2].replace(":", "-")
    file = folder / f"{name}.cdx.json"
    container = run_engine("create", image).strip()
    try:
        run_engine("cp", f"{container}:{SBOM}", str(file))
    finally:
        run_engine("rm", container)
    return file


def push(image: str, registry: str) -> str:
    """Push to a registry; log in before with `podman login` or `docker login`."""
    name = f"{registry.rstrip('/')}/{image.rpartition('/')[2]}"
    run_engine("tag", image, name)
    run_engine("push", name)
    return name


def with_digest(image: str) -> str:
    """A pushed image with its digest, which names the same bytes for ever; without, if unknown."""
    name = image.rpartition(":")[0]
    digests = [
        each for each in _inspect(image).get("RepoDigests", []) if each.startswith(f"{name}@")
    ]
    return f"{image}@{digests[0].partition('@')[2]}" if digests else image


def exists(image: str) -> bool:
    """Whether the engine has the image."""
    command = [engine(), "image", "inspect", image]
    return subprocess.run(command, capture_output=True).returncode == 0  # noqa: S603


def engine() -> str:
    """The program that builds and runs images: CONTAINER_ENGINE, else podman, else docker."""
    named = os.environ.get("CONTAINER_ENGINE")
    names = [named] if named else ["podman", "docker"]
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        raise RefsrError(
            f"{' and '.join(names)}: not on the PATH; "
            "install podman or docker, or set CONTAINER_ENGINE"
        )
    return program


def run_engine(*arguments: str) -> str:
    """The engine's stdout. Raises RefsrError if the command fails; its stderr is shown."""
    command = [engine(), *arguments]
    # The older builder of docker, still the default of Debian's, knows no mounts.
    environment = {"DOCKER_BUILDKIT": "1"} | os.environ
    done = subprocess.run(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RefsrError(f"{Path(engine()).name} {arguments[0]} failed; its output is above")
    return done.stdout


def _checked_size(image: str, target: str) -> int:
    """Size in MB. Raises RefsrError if the image is too large."""
    megabytes = round(int(_inspect(image)["Size"]) / 1e6)
    if megabytes > MEGABYTES[target]:
        raise RefsrError(
            f"{image}: {megabytes} MB, limit {MEGABYTES[target]}; check which package has grown"
        )
    return megabytes


def _inspect(image: str) -> dict[str, Any]:
    (description,) = json.loads(run_engine("image", "inspect", image))
    return cast("dict[str, Any]", description)


if __name__ == "__main__":
    run_as_process(main)
