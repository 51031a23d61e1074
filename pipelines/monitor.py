"""What is done with runs that are on their way, and with the pipeline a server already has."""

import argparse
import difflib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster import load_cluster
from pipelines.compile import compile_package
from pipelines.connection import api, resolve
from pipelines.submit import order
from refsr import log
from refsr.errors import RefsrError
from refsr.redaction import hide

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
HIDDEN = ("-driver",)  # tasks of Kubeflow's own


def watch(options: argparse.Namespace) -> int:
    """Print the tasks of a run whenever one changes, until the run has ended; 0 if it succeeded, else 1."""
    shown = ""
    with api(resolve(options, load_cluster(options.cluster).target)) as client:
        while True:
            run = client.get_run(options.run)
            table = task_table(run)
            if table != shown:
                _show(table, shown)
                shown = table
            if run.state in ENDED:
                break
            time.sleep(options.every)
    if run.error and run.error.message:
        log.error(run.error.message)
    return 0 if run.state == "SUCCEEDED" else 1


def task_table(run: Any) -> str:
    """A line for the run and one for each of its tasks, in the order they started: state, duration, name, error."""
    details = (run.run_details.task_details or []) if run.run_details else []
    tasks = [task for task in details if task.start_time and not task.display_name.endswith(HIDDEN)]
    tasks.sort(key=lambda task: (task.start_time, task.display_name))
    lines = [f"{run.state or 'PENDING':<10} {'':>8}  {run.display_name}"]
    for task in tasks:
        error = f": {task.error.message}" if task.error and task.error.message else ""
        lines.append(f"{task.state or 'PENDING':<10} {_duration(task):>8}  {task.display_name}{error}")
    return hide("\n".join(lines))


def _duration(task: Any) -> str:
    """Hours, minutes and seconds a finished task took."""
    if not task.end_time or task.end_time < task.start_time:  # Kubeflow writes the year 1 for none
        return ""
    return str(task.end_time - task.start_time).partition(".")[0]


def _show(table: str, before: str) -> None:
    """In place on a terminal; one table after another elsewhere."""
    if before and sys.stdout.isatty():
        print(f"\033[{before.count(chr(10)) + 1}F\033[J", end="")
    print(table, flush=True)


def cancel(options: argparse.Namespace) -> None:
    """Ask for the end of a run; its exit handler still records it."""
    with api(resolve(options, load_cluster(options.cluster).target)) as client:
        client.terminate_run(options.run)
    print(f"{options.run}: asked to end; `watch` tells when it has")


def diff(options: argparse.Namespace) -> int:
    """What the pipeline would change against the version uploaded last, as a unified diff; 0 if nothing, else 1."""
    wanted = order(options)
    with tempfile.TemporaryDirectory() as folder:
        compile_package(Path(folder) / "new.yaml", wanted.pipeline)
        new = list(yaml.safe_load_all((Path(folder) / "new.yaml").read_text(encoding="utf-8")))
    with api(wanted.target) as client:
        name = wanted.pipeline.name
        pipeline = client.get_pipeline_id(name)
        versions = client.list_pipeline_versions(pipeline, page_size=1, sort_by="created_at desc") if pipeline else None
    if versions is None or not versions.pipeline_versions:
        raise RefsrError(
            f"no version of {name} is at {wanted.target.endpoint}; `python -m pipelines upload` leaves one"
        )
    (old,) = versions.pipeline_versions
    lines = list(
        difflib.unified_diff(
            readable(documents(old.pipeline_spec)),
            readable(new),
            f"uploaded {old.display_name}",
            wanted.what,
            "",
            "",
            2,
        )
    )
    print(hide("\n".join(lines)) or f"nothing: {old.display_name} is the same")
    return 1 if lines else 0


def documents(spec: Mapping[str, Any]) -> list[Any]:
    """The YAML documents of a version, as the API gives them: the pipeline alone, or with what Kubernetes is told."""
    if "pipeline_spec" not in spec:
        return [spec]
    return [spec["pipeline_spec"], *([spec["platform_spec"]] if spec.get("platform_spec") else [])]


def readable(documents: list[Any]) -> list[str]:
    """Lines in one order, with the program text of a component line by line."""
    text = yaml.safe_dump_all(json.loads(json.dumps(documents)), sort_keys=True, default_flow_style=False, width=1000)
    return [part for line in text.splitlines() for part in line.replace("\\n", "\n").splitlines()]
