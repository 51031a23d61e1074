"""Close runs whose process was killed (SIGKILL, power loss, out of memory).

`process_tags` identifies the process of a run. A run that is still RUNNING counts as dead if
its process was on this machine and is gone, or if the same task of a pipeline runs again.
A model that such a run was logging stays PENDING; it is set to FAILED.
Runs of other machines and of other PID namespaces are left alone: their state is unknown.
"""

import contextlib
import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from refsr.integrations.mlflow_store import MISSING, ignored
from refsr.integrations.processes import is_alive

# Tags of a run.
HOST, BOOT, SPACE = "process.host", "process.boot", "process.namespace"
PID, STARTED, TASK = "process.pid", "process.started", "process.task"
ERROR = "the process ended without closing its run (killed, or the machine went down)"
_ENDED = ("FINISHED", "FAILED", "KILLED")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PAGE = 1000  # runs that a query returns


class LeftOpen(NamedTuple):
    """What dead processes left open in a store, by id."""

    runs: list[str]  # RUNNING
    models: list[str]  # PENDING


@cache
def _host() -> dict[str, str]:
    """Hashes of this machine and of its boot: stores are shared, so no host name is stored."""
    names = [socket.gethostname(), str(uuid.getnode())]
    with contextlib.suppress(OSError):
        names.append(Path("/etc/machine-id").read_text().strip())
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""
    return {HOST: _hash(*names), BOOT: _hash(boot)}


def process_tags(task: str = "") -> dict[str, str]:
    """The tags that identify this process, and its task in a pipeline if there is one."""
    pid = os.getpid()
    tags = {SPACE: _namespace(), PID: str(pid), STARTED: _start_time(pid)}
    return _host() | tags | ({TASK: task} if task else {})


def task_key(pipeline: str | None, stage: str, *outputs: str) -> str:
    """The key of a pipeline's task, equal in each retry; "" outside a pipeline.

    All pods of a task get the same output paths, so these identify it.
    """
    return _hash(pipeline, stage, *outputs) if pipeline else ""


def left_open(client: Any, experiments: list[str], task: str = "") -> LeftOpen:
    """Find the runs and models of dead processes.

    Args:
        client: MLflow's client of the store.
        experiments: Ids of the experiments to search.
        task: A key of `task_key`: its earlier runs count as dead on any machine.

    Returns:
        The runs that are RUNNING and the models that are PENDING, though their process is gone.
    """
    here = _running(client, experiments, HOST, _host()[HOST])
    dead = [run for run in here if _is_dead(run.data.tags)]
    if task:
        dead += _running(client, experiments, TASK, task)
    return left_by(client, experiments, [run.info.run_id for run in dead])


def left_by(client: Any, experiments: list[str], runs: list[str]) -> LeftOpen:
    """These runs, whose processes are dead, and the models that dead processes left PENDING."""
    once = list(dict.fromkeys(runs))
    return LeftOpen(once, _unfinished_models(client, experiments, once))


def close(client: Any, left: LeftOpen) -> None:
    """Set the runs to KILLED, with the reason in their tag `error`, and the models to FAILED."""
    for run in left.runs:
        client.set_tag(run, "error", ERROR)
        client.set_terminated(run, "KILLED")
    for model in left.models:
        client.finalize_logged_model(model, "FAILED")


def _unfinished_models(client: Any, experiments: list[str], dead: list[str]) -> list[str]:
    """Ids of the PENDING models whose run has ended, or is one of `dead`."""
    unfinished = []
    for model in _pending(client, experiments):
        run = model.source_run_id
        if run and (run in dead or _has_ended(client, run)):
            unfinished.append(model.model_id)
    return unfinished


def _pending(client: Any, experiments: list[str]) -> Iterator[Any]:
    token = None
    while experiments:
        page: Any = None
        with ignored("ENDPOINT_NOT_FOUND"):  # a server older than logged models
            page = client.search_logged_models(experiments, page_token=token)
        if page is None:
            return
        yield from (model for model in page if str(model.status) == "PENDING")
        token = page.token
        if not token:
            return


def _has_ended(client: Any, run: str) -> bool:
    status = ""
    with ignored(MISSING):
        status = str(client.get_run(run).info.status)
    return status in _ENDED


def _running(client: Any, experiments: list[str], tag: str, value: str) -> list[Any]:
    if not experiments:
        return []
    where = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
    return list(client.search_runs(experiments, where, max_results=_PAGE))


def _is_dead(tags: dict[str, str]) -> bool:
    """Whether the process of these tags, which was on this machine, is known to have ended."""
    if tags.get(BOOT) != _host()[BOOT]:
        return True
    pid = tags.get(PID, "")
    if tags.get(SPACE) != _namespace() or not pid.isdecimal():
        return False
    return _start_time(int(pid)) != tags.get(STARTED)


def _start_time(pid: int) -> str:
    """The start of a process in clock ticks since boot; "" if it is gone or a zombie.

    Without /proc it is "alive" or "".
    """
    if not Path("/proc/self/stat").is_file():
        return "alive" if is_alive(pid) else ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _namespace() -> str:
    """The PID namespace: in another container, the same number is another process."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _hash(*parts: str | None) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
