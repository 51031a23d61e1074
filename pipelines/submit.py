"""Compile a pipeline and send it: as a run, or as a schedule.

`python -m pipelines.submit ...` is short for `python -m pipelines submit ...`.
"""

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import kfp

from pipelines.cluster import Target, load_cluster
from pipelines.command_line import run_command
from pipelines.compile import (
    arguments,
    build,
    check_reachable,
    compile_package,
    without_cache,
)
from pipelines.connection import add_target_options, api, endpoint_of, id_of, require, resolve
from pipelines.images import tag_of, target_image
from pipelines.limits import experiment_name, require_remote, run_label
from pipelines.nodes import unplaced
from pipelines.options import add_work_options, work_of
from pipelines.task_requests import Request, requests_of, table
from refsr.config import SECTIONS
from refsr.console import run_as_process
from refsr.io.paths import path_option
from refsr.params import load_section
from refsr.redaction import Parser, hide

_logger = logging.getLogger(__name__)


class Submission(NamedTuple):
    """A checked pipeline with its arguments and its target."""

    pipeline: Any
    image: str
    arguments: dict[str, Any]
    target: Target
    summary: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `submit`; returns the exit status."""
    parser = Parser(prog="python -m pipelines.submit", description=submit.__doc__)
    add_submit_options(parser)
    parser.set_defaults(command=submit)
    return run_command(parser, argv)


def add_submit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a submission."""
    add_work_options(parser)
    add_target_options(parser)
    add = parser.add_argument
    text = "experiment of the run (default: refsr)"
    add("--experiment", type=experiment_name, default="refsr", help=text)
    text = "name of the run (default: params file and image tag)"
    add("--run-name", type=run_label, help=text)
    add("--output", type=path_option, help="write the compiled package here")
    add("--dry-run", action="store_true", help="check and compile; send nothing")


def prepare(options: argparse.Namespace) -> Submission:
    """Check everything that needs no server.

    Raises RefsrError naming the key, the option or the file at fault.
    """
    cluster = load_cluster(options.cluster)
    target = resolve(options, cluster.target)
    endpoint_of(target)
    tracking_uri = require(target, "tracking_uri")
    work = work_of(options)
    check_reachable(tracking_uri, work.uris())
    for name in SECTIONS:  # the whole file must be valid, whichever sections the graph reads
        load_section(work.params, name)
    image = target_image(target, cluster)
    if work.raw and hasattr(options, "cron"):
        # The cache compares URIs, and what lies at this one is new each time.
        cluster = without_cache(cluster, "curate")
    pipeline = build(work, image, cluster)
    values = arguments(pipeline, work, tracking_uri)
    if (fetch := values.get("fetch")) and not work.raw:
        require_remote(work.params, fetch)
    summary = f"{work.graph} with {work.params} in {image}"
    return Submission(pipeline, image, values, target, summary)


def submit(options: argparse.Namespace) -> None:
    """Start a run now."""
    submission = prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        package = write_package(submission, options, Path(folder))
        if options.dry_run:
            print_dry_run(submission, package)
            return
        _warn(requests_of(package))
        run = start(submission, options, package)
    _print(f"{endpoint_of(submission.target)}/#/runs/details/{run}", submission)


def print_dry_run(submission: Submission, package: Path) -> None:
    """Print what would be submitted."""
    _print(f"dry run, not submitted to {submission.target.endpoint}", submission)
    print_requests(package)


def start(submission: Submission, options: argparse.Namespace, package: Path) -> str:
    """Start a run of a package; returns its id."""
    with api(submission.target) as client:
        run = client.create_run_from_pipeline_package(
            str(package),
            submission.arguments,
            run_name(submission, options),
            options.experiment,
            submission.target.namespace,
        )
    return id_of(run, "run_id")


def schedule(options: argparse.Namespace) -> None:
    """Start a run at regular times, by a cron expression of six fields; seconds come first."""
    submission = prepare(options)
    target = submission.target
    with tempfile.TemporaryDirectory() as folder:
        package = write_package(submission, options, Path(folder))
        if options.dry_run:
            _print(f"dry run, not scheduled at {target.endpoint}, {options.cron}", submission)
            print_requests(package)
            return
        _warn(requests_of(package))
        with api(target) as client:
            schedule_id = _create_schedule(client, submission, options, package)
    page = f"{endpoint_of(target)}/#/recurringrun/details/{schedule_id}"
    _print(f"{page}: {options.cron}", submission)


def _create_schedule(
    client: kfp.Client,
    submission: Submission,
    options: argparse.Namespace,
    package: Path,
) -> str:
    namespace = submission.target.namespace
    experiment = client.create_experiment(options.experiment, namespace=namespace)
    created = client.create_recurring_run(
        id_of(experiment, "experiment_id"),
        run_name(submission, options),
        cron_expression=options.cron,
        no_catchup=True,
        params=submission.arguments,
        pipeline_package_path=str(package),
    )
    return id_of(created, "recurring_run_id")


def run_name(submission: Submission, options: argparse.Namespace) -> str:
    """The option --run-name, else the params file and the image's tag."""
    tag = tag_of(submission.image)[:12]
    name: str = options.run_name or f"{options.params.stem} {tag}"
    return name


def print_requests(package: Path) -> None:
    """Print what tasks request, and warn of tasks that no node can run."""
    requests = requests_of(package)
    print(hide(table(requests)))
    _warn(requests)


def _warn(requests: list[Request]) -> None:
    for message in unplaced(requests):
        _logger.warning("%s", message)


def _print(result: str, submission: Submission) -> None:
    print(hide(f"{result}: {submission.summary}"))


def write_package(
    submission: Submission,
    options: argparse.Namespace,
    folder: Path,
    defaults: Mapping[str, Any] | None = None,
) -> Path:
    """Compile to --output, else to a file of `folder`."""
    package: Path = options.output or folder / f"{options.graph}.yaml"
    compile_package(package, submission.pipeline, defaults=defaults)
    return package


if __name__ == "__main__":
    run_as_process(main)
