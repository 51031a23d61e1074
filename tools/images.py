"""Build and push the image that tasks run in, with podman or docker: `python -m tools.images --help`."""

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

from pipelines.compile import immutable_image
from refsr.console import exit_status, run_as_process
from refsr.errors import RefsrError
from refsr.io.paths import path_option, require_folder
from tools.manifests import write_image

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "containers"
TARGETS = ("cpu", "gpu")
PYTHON = "3.11"  # of the base image, and of the lock files
GLIBC = range(5, 37)  # manylinux_2_5 to 2_36, that of Debian 12
MEGABYTES = {"cpu": 2500, "gpu": 12000}  # an image that grows beyond is refused


def main(argv: Sequence[str] | None = None) -> int:
    """Build, and push where a registry is named; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--registry", help="push to REGISTRY/refsr-TARGET as well, say registry.example/faces")
    parser.add_argument("--tag", help="tag instead of the git revision, for a working tree with changes")
    parser.add_argument("--base", help="image to build on; it has to have Python 3.11 with venv (Containerfile: BASE)")
    parser.add_argument("--sbom", type=path_option, default=ROOT / "build", help="folder of the bill of materials")
    return exit_status(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    require_folder(options.sbom.absolute())
    image = build(options.target, options.tag, options.base)
    took = time.monotonic() - started
    size = _checked_size(image, options.target)
    print(f"{image}: {size} MB, built in {took:.0f} s, {write_sbom(image, options.sbom)}")
    if options.registry:
        image = push(image, options.registry)
        print(f"pushed {image}")
    write_image(image)


def build(target: str, tag: str | None = None, base: str | None = None) -> str:
    """Build the image refsr-TARGET from the wheels of its lock; returns its name, `localhost/refsr-cpu:<commit>`.

    Raises RefsrError where no engine is installed, a wheel cannot be had, or the build fails.
    """
    image = immutable_image(f"localhost/refsr-{target}{f':{tag}' if tag else ''}")
    revision = image.rpartition(":")[2]
    fetch_wheels(target)
    arguments = {"TARGET": target, "REVISION": revision} | ({"BASE": base} if base else {})
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    command = ["build", "--network", "none", "--file", str(CONTAINERS / "Containerfile"), "--target", target]
    run_engine(*command, *given, "--tag", image, str(ROOT))
    if f"REFSR_REVISION={revision}" not in _facts(image)["Config"]["Env"]:  # runs are recorded under what it says
        raise RefsrError(f"{image}: it says that it is of another revision; build it without the engine's cache")
    return image


def fetch_wheels(target: str) -> Path:
    """Download what the lock names, hash for hash, into build/wheels/TARGET; nothing where it is there already.

    pip does it, as it is configured on this machine: behind a proxy or a mirror nothing else need be told.
    """
    locks = _locks(target)
    folder = ROOT / "build" / "wheels" / target
    stamp = folder / "complete"
    if stamp.is_file() and stamp.read_text() == lock_state(target):
        return folder
    partial = folder.with_name(f"{target}.partial")
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC]
    platforms += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64", "linux_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(partial)]
    command += [word for platform in platforms for word in ("--platform", platform)]
    command += ["--find-links", str(folder)] if folder.is_dir() else []
    try:
        subprocess.run([*command, *(word for lock in locks for word in ("-r", str(lock)))], check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise RefsrError(
            f"{locks[0]}: pip could not download what it names (above). Where it is torch with +cpu: PyPI has no such "
            "build; name PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL, or a folder of them in PIP_FIND_LINKS"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    stamp.write_text(lock_state(target))
    return folder


def lock_state(target: str) -> str:
    """What tells the locks of one commit from those of another."""
    return hashlib.sha256(b"".join(lock.read_bytes() for lock in _locks(target))).hexdigest()


def _locks(target: str) -> list[Path]:
    return [CONTAINERS / f"{target}.lock", CONTAINERS / "build.lock"]


def write_sbom(image: str, folder: Path) -> Path:
    """Copy the CycloneDX bill of materials, Python packages and their licences, out of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{image.rpartition('/')[2].replace(':', '-')}.cdx.json"
    container = run_engine("create", image).strip()
    try:
        run_engine("cp", f"{container}:/opt/project/sbom.cdx.json", str(file))
    finally:
        run_engine("rm", container)
    return file


def push(image: str, registry: str) -> str:
    """Push under the registry's name; who may is the engine's business (`podman login`, `docker login`)."""
    name = f"{registry.rstrip('/')}/{image.rpartition('/')[2]}"
    run_engine("tag", image, name)
    run_engine("push", name)
    return name


def exists(image: str) -> bool:
    """Whether the engine holds the image."""
    return subprocess.run([engine(), "image", "inspect", image], capture_output=True).returncode == 0  # noqa: S603


def engine() -> str:
    """The program that builds and runs images: CONTAINER_ENGINE, else podman, else docker."""
    named = os.environ.get("CONTAINER_ENGINE")
    found = next(filter(None, map(shutil.which, [named] if named else ["podman", "docker"])), None)
    if found is None:
        raise RefsrError(f"no {named or 'podman or docker'} on the PATH; install one, or name one in CONTAINER_ENGINE")
    return found


def run_engine(*arguments: str) -> str:
    """What the engine answers; what else it says goes to stderr. Raises RefsrError where it fails."""
    done = subprocess.run([engine(), *arguments], stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        raise RefsrError(f"{Path(engine()).name} {arguments[0]} failed; what it said stands above")
    return done.stdout


def _checked_size(image: str, target: str) -> int:
    megabytes = round(int(_facts(image)["Size"]) / 1e6)
    if megabytes > MEGABYTES[target]:
        raise RefsrError(f"{image}: {megabytes} MB, more than the {MEGABYTES[target]} it may have; see what has grown")
    return megabytes


def _facts(image: str) -> dict[str, Any]:
    (facts,) = json.loads(run_engine("image", "inspect", image))
    return cast("dict[str, Any]", facts)


if __name__ == "__main__":
    run_as_process(main)
