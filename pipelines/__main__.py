"""The door to Kubeflow: `python -m pipelines --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipelines import runs, submit
from pipelines.package import build, compile_package, immutable_image, reachable_from_a_cluster
from pipelines.resources import RESUMABLE, load_cluster
from pipelines.target import add_target_options, require, resolve
from pipelines.trainjob import Nodes, trainjob
from refsr.config import load_section
from refsr.errors import RefsrError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. What a user can mend is printed as one message."""
    options = _parser().parse_args(argv)
    try:
        return options.command(options) or 0
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="The stages on Kubeflow Pipelines.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    made = commands.add_parser("compile", help="write the package; with --gitops as Kubernetes objects")
    submit.add_run_options(made)
    add_target_options(made)
    made.add_argument("--output", type=Path, required=True, help="file to write")
    made.add_argument("--gitops", action="store_true", help="write Pipeline and PipelineVersion objects")
    made.set_defaults(command=_compile)

    for name, function, told in (
        ("submit", submit.submit, "start a run"),
        ("schedule", submit.schedule, "start a run again and again"),
        ("upload", submit.upload, "leave the pipeline as a version on the server"),
        ("diff", runs.diff, "what would change against the version uploaded last"),
    ):
        command = commands.add_parser(name, help=told, description=function.__doc__)
        submit.add_submit_options(command)
        command.set_defaults(command=function)
        if name == "schedule":
            command.add_argument("--cron", required=True, help='six fields, say "0 0 3 * * 0": Sundays at three')

    job = commands.add_parser("trainjob", help="write a training on several nodes as objects for kubectl apply")
    job.add_argument("--params", type=Path, default=Path("params.yaml"), help="params file (default: params.yaml)")
    job.add_argument("--stage", required=True, choices=RESUMABLE)
    job.add_argument("--nodes", type=int, required=True, help="how many: 2 or more")
    job.add_argument("--name", required=True, help="of the TrainJob and of the ConfigMap")
    job.add_argument("--path", action="append", required=True, metavar="PORT=PATH", help="on the volume; one for each")
    job.add_argument("--output", type=Path, required=True, help="file to write")
    add_target_options(job)
    job.set_defaults(command=_trainjob)

    for name, act, told in (
        ("watch", runs.watch, "the tasks of a run until it ends; exits 0 if it succeeded"),
        ("cancel", runs.cancel, "end a run"),
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


def _trainjob(options: argparse.Namespace) -> None:
    cluster = load_cluster(options.cluster)
    target = resolve(options, cluster.target)
    load_section(options.params, options.stage)
    paths = dict(path.partition("=")[::2] for path in options.path)
    try:
        wanted = Nodes(stage=options.stage, name=options.name, nodes=options.nodes, paths=paths)
    except ValidationError as error:
        told = "; ".join(f"--{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise RefsrError(told) from error
    tracking_uri = require(target, "tracking_uri")
    reachable_from_a_cluster(tracking_uri, {})
    image = immutable_image(require(target, "image"))
    cluster = cluster.model_copy(update={"target": target})
    objects = trainjob(wanted, options.params.read_text(encoding="utf-8"), image, tracking_uri, cluster)
    options.output.write_text(yaml.safe_dump_all(objects, sort_keys=False), encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    sys.exit(main())
