"""The commands of `python -m pipelines`."""

import argparse
from collections.abc import Callable, Sequence

from pipelines import monitor, reconcile, submit, sweep, upload
from pipelines.cluster import load_cluster
from pipelines.command_line import run_command
from pipelines.compile import arguments, build, check_reachable, compile_package
from pipelines.connection import add_target_options, resolve
from pipelines.images import tag_of, target_image
from pipelines.limits import cron, run_id, seconds
from pipelines.options import add_work_options, work_of
from refsr.io.paths import path_option
from refsr.redaction import Parser

Command = Callable[[argparse.Namespace], int | None]
SUBMITTING: dict[str, tuple[Command, str]] = {
    "submit": (submit.submit, "start a run"),
    "schedule": (submit.schedule, "start a run at regular times"),
    "upload": (upload.upload, "store the pipeline as a version on the server"),
    "diff": (monitor.diff, "compare with the version uploaded last"),
}
MONITORING: dict[str, tuple[Command, str]] = {
    "watch": (monitor.watch, "show the tasks of a run until it ends; exit 0 if it succeeds"),
    "cancel": (monitor.cancel, "end a run, and its MLflow runs"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    description = "Run the stages on Kubeflow Pipelines."
    parser = Parser(prog="python -m pipelines", description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_compile(commands)
    for name, (function, text) in SUBMITTING.items():
        command = commands.add_parser(name, help=text, description=function.__doc__)
        submit.add_submit_options(command)
        command.set_defaults(command=function)
        if name == "schedule":
            text = 'six fields, seconds first; "0 0 3 * * 0" is Sundays at 03:00'
            command.add_argument("--cron", type=cron, required=True, help=text)
    for name, (function, text) in MONITORING.items():
        command = commands.add_parser(name, help=text, description=function.__doc__)
        _add_run_options(command)
        command.set_defaults(command=function)
    _add_reconcile(commands)
    _add_search(commands)
    return parser


def _add_search(commands: "argparse._SubParsersAction[Parser]") -> None:
    for function, add_options, text in (
        (sweep.sweep, sweep.add_sweep_options, "write a Katib Experiment over parameters"),
        (sweep.trial, sweep.add_trial_options, "run one trial of a sweep, and print its metrics"),
    ):
        parser = commands.add_parser(function.__name__, help=text, description=function.__doc__)
        add_options(parser)
        parser.set_defaults(command=function)


def _add_reconcile(commands: "argparse._SubParsersAction[Parser]") -> None:
    function = reconcile.reconcile
    text = "close MLflow runs of pipelines that have ended"
    parser = commands.add_parser("reconcile", help=text, description=function.__doc__)
    add_target_options(parser)
    parser.set_defaults(command=function)


def _add_compile(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = "write the package; with --gitops, as Kubernetes objects"
    parser = commands.add_parser("compile", help=text, description=compile_to_file.__doc__)
    add_work_options(parser)
    add_target_options(parser)
    add = parser.add_argument
    add("--output", type=path_option, required=True, help="file to write")
    add("--gitops", action="store_true", help="write Pipeline and PipelineVersion objects")
    parser.set_defaults(command=compile_to_file)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "id of the run, or the URL that `submit` prints"
    add("run", type=run_id, metavar="RUN", help=text)
    add_target_options(parser)
    add("--every", type=seconds, default=10.0, help="seconds between two requests (default: 10)")


def compile_to_file(options: argparse.Namespace) -> None:
    """Compile the pipeline to a file; the params file gives the defaults of its inputs."""
    cluster = load_cluster(options.cluster)
    target = resolve(options, cluster.target)
    image = target_image(target, cluster)
    version = tag_of(image) if options.gitops else ""
    work = work_of(options)
    check_reachable(target.tracking_uri, work.uris())
    pipeline = build(work, image, cluster)
    defaults = arguments(pipeline, work, target.tracking_uri or "")
    if not target.tracking_uri:
        del defaults["tracking_uri"]
    compile_package(options.output, pipeline, version, target.namespace, defaults)
    print(options.output)
