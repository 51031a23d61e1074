"""Runs whose process died without a word (SIGKILL, power, out of memory): found and closed as KILLED.

Each run carries the tags of `process_tags`. A run that is still RUNNING is an orphan where its
machine is this one and its process is gone, or where this very task of a pipeline is tried again.
A model that such a run was logging is PENDING for ever: it is set FAILED.
What cannot be known (a process of another machine, or of another PID namespace) is left alone.
"""

import contextlib
import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

HOST, BOOT, SPACE = "process.host", "process.boot", "process.namespace"
PID, STARTED, TASK = "process.pid", "process.started", "process.task"
ERROR = "the process ended without closing its run (killed, or the machine went down)"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PAGE = 1000  # runs a query returns


@cache
def _host() -> dict[str, str]:
    """This machine and its present boot, as hashes: a store is shared, a host's name is not."""
    names = [socket.gethostname(), str(uuid.getnode())]
    with contextlib.suppress(OSError):
        names.append(Path("/etc/machine-id").read_text().strip())
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""
    return {HOST: _hash(*names), BOOT: _hash(boot)}


def process_tags(task: str = "") -> dict[str, str]:
    """What identifies the present process; `task`, where there is one, is its task in a pipeline."""
    pid = os.getpid()
    tags = {SPACE: _namespace(), PID: str(pid), STARTED: _start_time(pid)}
    return _host() | tags | ({TASK: task} if task else {})


def task_key(pipeline: str | None, stage: str, *outputs: str) -> str:
    """A task of a pipeline, the same in each try: its pods get the same output paths. "" without."""
    return _hash(pipeline, stage, *outputs) if pipeline else ""


def orphans(client: Any, experiments: list[str], task: str = "") -> list[str]:
    """Ids of the RUNNING runs whose process is gone; all earlier runs of `task` count as such."""
    ours = _running(client, experiments, HOST, _host()[HOST])
    found = [run.info.run_id for run in ours if _is_dead(run.data.tags)]
    tries = _running(client, experiments, TASK, task) if task else []
    return list(dict.fromkeys([*found, *(run.info.run_id for run in tries)]))


def close(client: Any, runs: list[str]) -> None:
    """Set these runs KILLED, and say why in their tag `error`."""
    for run in runs:
        client.set_tag(run, "error", ERROR)
        client.set_terminated(run, "KILLED")


def unfinished_models(client: Any, experiments: list[str], dead: list[str]) -> list[str]:
    """Ids of the PENDING models whose run has ended, or is one of `dead`."""
    found = []
    for model in _pending(client, experiments):
        run = model.source_run_id
        if run and (run in dead or _has_ended(client, run)):
            found.append(model.model_id)
    return found


def fail_models(client: Any, models: list[str]) -> None:
    """Set these models FAILED."""
    for model in models:
        client.finalize_logged_model(model, "FAILED")


def _pending(client: Any, experiments: list[str]) -> Iterator[Any]:
    from mlflow import MlflowException

    token = None
    while experiments:
        try:
            page = client.search_logged_models(experiments, page_token=token)
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":  # a server older than such models
                raise
            return
        yield from (model for model in page if str(model.status) == "PENDING")
        token = page.token
        if not token:
            return


def _has_ended(client: Any, run: str) -> bool:
    from mlflow import MlflowException

    try:
        return str(client.get_run(run).info.status) in ("FINISHED", "FAILED", "KILLED")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _running(client: Any, experiments: list[str], tag: str, value: str) -> list[Any]:
    where = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
    return list(client.search_runs(experiments, where, max_results=_PAGE)) if experiments else []


def _is_dead(tags: dict[str, str]) -> bool:
    """Whether the process of these tags, of this machine, is known to have ended."""
    if tags.get(BOOT) != _host()[BOOT]:
        return True
    pid = tags.get(PID, "")
    if tags.get(SPACE) != _namespace() or not pid.isdecimal():
        return False
    return _start_time(int(pid)) != tags.get(STARTED)


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" for one that is gone or a zombie.

    Where there is no /proc, "alive" or "".
    """
    if not Path("/proc/self/stat").is_file():
        return "alive" if _answers(pid) else ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _namespace() -> str:
    """The PID namespace: the same number is another process in another container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _hash(*parts: str | None) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
