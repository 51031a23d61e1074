"""The door to Kubeflow: `python -m pipelines --help`."""

import argparse
from collections.abc import Sequence

from pipelines import monitor, submit
from pipelines.cluster import load_cluster
from pipelines.compile import build, compile_package, immutable_image
from pipelines.connection import add_target_options, require, resolve
from refsr.console import exit_status, run_as_process
from refsr.io.paths import path_option
from refsr.redaction import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. What a user can mend is printed as one message."""
    return exit_status(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int | None:
    options = _parser().parse_args(argv)
    status: int | None = options.command(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m pipelines", description="The stages on Kubeflow Pipelines.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    made = commands.add_parser("compile", help="write the package; with --gitops as Kubernetes objects")
    submit.add_run_options(made)
    add_target_options(made)
    made.add_argument("--output", type=path_option, required=True, help="file to write")
    made.add_argument("--gitops", action="store_true", help="write Pipeline and PipelineVersion objects")
    made.set_defaults(command=_compile)

    for name, function, told in (
        ("submit", submit.submit, "start a run"),
        ("schedule", submit.schedule, "start a run again and again"),
        ("upload", submit.upload, "leave the pipeline as a version on the server"),
        ("diff", monitor.diff, "what would change against the version uploaded last"),
    ):
        command = commands.add_parser(name, help=told, description=function.__doc__)
        submit.add_submit_options(command)
        command.set_defaults(command=function)
        if name == "schedule":
            command.add_argument("--cron", required=True, help='six fields, say "0 0 3 * * 0": Sundays at three')

    for name, act, told in (
        ("watch", monitor.watch, "the tasks of a run until it ends; exits 0 if it succeeded"),
        ("cancel", monitor.cancel, "end a run"),
    ):
        command = commands.add_parser(name, help=told)
        command.add_argument("run", metavar="RUN", help="id of the run: the last part of what `submit` prints")
        add_target_options(command)
        command.add_argument("--every", type=float, default=10.0, help="seconds between two looks (default: 10)")
        command.set_defaults(command=act)
    return parser


def _compile(options: argparse.Namespace) -> None:
    cluster = load_cluster(options.cluster)
    target = resolve(options, cluster.target)
    image = immutable_image(require(target, "image"))
    version = image.rpartition(":")[2] if options.gitops else ""
    pipeline = build(submit.work_of(options), image, cluster)
    compile_package(options.output, pipeline, version, target.namespace)
    print(options.output)


if __name__ == "__main__":
    run_as_process(main)
