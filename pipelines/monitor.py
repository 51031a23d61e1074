"""Watch and cancel runs; compare the pipeline with the version on the server."""

import argparse
import difflib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import kfp
import yaml

from pipelines.cluster import load_cluster
from pipelines.compile import compile_package
from pipelines.connection import api, id_of, resolve
from pipelines.reconcile import has_ended, record
from pipelines.submit import Submission, prepare
from pipelines.upload import pipeline_id, stored_name
from refsr import log
from refsr.errors import RefsrError
from refsr.integrations.kubeflow_states import status_of
from refsr.redaction import hide
from refsr.strict_yaml import load_documents

HIDDEN = ("-driver",)  # suffixes of Kubeflow's own tasks
CONTEXT = 2  # lines around a difference
PATIENCE = 120.0  # seconds that `cancel` waits for the end of the run


def watch(options: argparse.Namespace) -> int:
    """Print the tasks of a run at each change until the run ends; 0 if it succeeded, else 1.

    Its MLflow run gets the same end, if it has another one.
    """
    target = resolve(options, load_cluster(options.cluster).target)
    with api(target) as client:
        run = _await_end(client, options)
    record(run, target)
    if run.error and run.error.message:
        log.error(run.error.message)
    return 0 if status_of(run.state) == "FINISHED" else 1


def _await_end(client: kfp.Client, options: argparse.Namespace, patience: float = inf) -> Any:
    """The run when it has ended, or after `patience` seconds; each change is printed."""
    shown = ""
    latest = time.monotonic() + patience
    while True:
        run = client.get_run(options.run)
        id_of(run, "run_id")
        table = task_table(run)
        if table != shown:
            _show(table, shown)
            shown = table
        if has_ended(run) or time.monotonic() >= latest:
            return run
        time.sleep(options.every)


def task_table(run: Any) -> str:
    """One line for the run and one for each started task: state, duration, name, error."""
    details = (run.run_details.task_details or []) if run.run_details else []
    tasks = [task for task in details if task.start_time]
    tasks = [task for task in tasks if not task.display_name.endswith(HIDDEN)]
    tasks.sort(key=lambda task: (task.start_time, task.display_name))
    lines = [_line(run.state, "", run.display_name)]
    for task in tasks:
        error = f": {task.error.message}" if task.error and task.error.message else ""
        lines.append(_line(task.state, _duration(task), f"{task.display_name}{error}"))
    return hide("\n".join(lines))


def _line(state: str | None, duration: str, name: str) -> str:
    return f"{state or 'PENDING':<10} {duration:>8}  {name}"


def _duration(task: Any) -> str:
    """The duration of a finished task as H:MM:SS."""
    # Kubeflow writes the year 1 for a task that has not ended.
    if not task.end_time or task.end_time < task.start_time:
        return ""
    return str(task.end_time - task.start_time).partition(".")[0]


def _show(table: str, before: str) -> None:
    """Replace the previous table on a terminal; print a new one elsewhere."""
    if before and sys.stdout.isatty():
        print(f"\033[{before.count(chr(10)) + 1}F\033[J", end="")
    print(table, flush=True)


def cancel(options: argparse.Namespace) -> None:
    """End a run, wait for its end, and close its MLflow runs: its exit handler does not run."""
    target = resolve(options, load_cluster(options.cluster).target)
    with api(target) as client:
        client.terminate_run(options.run)
        run = _await_end(client, options, PATIENCE)
    if has_ended(run):
        record(run, target)
        return
    print(
        f"{options.run}: cancellation requested, and still {run.state or 'PENDING'}; "
        f"`python -m pipelines watch {options.run}` closes its MLflow run at the end"
    )


def diff(options: argparse.Namespace) -> int:
    """Print the changes against the version uploaded last as a unified diff.

    Returns 0 without a change, else 1.
    """
    submission = prepare(options)
    version = _last_version(submission, stored_name(submission, options.params))
    name = version.display_name
    lines = difflib.unified_diff(
        readable(documents(version.pipeline_spec)),
        readable(_compiled(submission)),
        f"uploaded {name}",
        submission.summary,
        n=CONTEXT,
        lineterm="",
    )
    text = "\n".join(lines)
    print(hide(text) or f"no change: {name} is the same")
    return 1 if text else 0


def _last_version(submission: Submission, name: str) -> Any:
    with api(submission.target) as client:
        pipeline = pipeline_id(client, name, submission.target.namespace)
        versions: list[Any] = []
        if pipeline:
            newest = "created_at desc"
            page = client.list_pipeline_versions(pipeline, page_size=1, sort_by=newest)
            versions = page.pipeline_versions or []
    if not versions:
        raise RefsrError(
            f"{submission.target.endpoint}: no version of {name}; "
            "upload one with `python -m pipelines upload`"
        )
    return versions[0]


def _compiled(submission: Submission) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "new.yaml"
        compile_package(package, submission.pipeline, defaults=submission.arguments)
        return list(load_documents(package.read_text(encoding="utf-8")))


def documents(spec: Mapping[str, Any]) -> list[Any]:
    """The YAML documents of a version: the pipeline, and its Kubernetes settings if it has any."""
    if "pipeline_spec" not in spec:
        return [spec]
    platform = spec.get("platform_spec")
    return [spec["pipeline_spec"], *([platform] if platform else [])]


def readable(documents: list[Any]) -> list[str]:
    """Sorted lines, with the source text of a component line by line."""
    plain = json.loads(json.dumps(documents))
    text = yaml.safe_dump_all(plain, sort_keys=True, default_flow_style=False, width=1000)
    lines = text.splitlines()
    return [part for line in lines for part in line.replace("\\n", "\n").splitlines()]
