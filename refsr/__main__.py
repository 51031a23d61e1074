"""The command line. A stage's options are its own named paths; heavy libraries load only in the one asked for."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from refsr import __version__, commands, steps
from refsr.commands import tracking_uri
from refsr.errors import RefsrError
from refsr.io.exhausted import shortage
from refsr.io.paths import file_errors_as_messages, path_option, path_text
from refsr.redaction import Parser, print_exception

if TYPE_CHECKING:
    from refsr.config import Curate, Section

_STEP_HELP = {"merge": "join what `curate --shard I/N` measured"}
# What `evaluate` offers beside the names of its paths: any model on any curated set, into a folder of its own.
_ALSO = {("evaluate", "refsr"): "--model", ("evaluate", "curated"): "--data"}
_DEFAULTS = {("evaluate", "sisr"): None, ("evaluate", "evaluation"): Path("reports/model")}
_HELP = {
    (
        "evaluate",
        "refsr",
    ): "checkpoint, its folder, or a registered version: models:/NAME@ALIAS, models:/NAME/VERSION",
    ("evaluate", "sisr"): "checkpoint or its folder; without it there is no SISR arm",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what a user can mend is printed as one message."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a cluster stops a pod: end the run as KILLED
    try:
        with file_errors_as_messages():
            options = _parser(arguments).parse_args(arguments)
            options.command(options)
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "refsr").startswith("refsr"):
            raise
        message = f"{sys.executable} has no {error.name}; run `make setup` once, then `source .venv/bin/activate`"
        print(f"refsr: error: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not (told := shortage(error)):
            raise
        print(f"refsr: error: {told}", file=sys.stderr)
        return 1
    return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(prog="python -m refsr", description="Reference-based face super-resolution.")
    parser.add_argument("--version", action="version", version=f"refsr {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in (*steps.STEPS, *steps.SIDE_STEPS):
        kind = "stage" if name in steps.STEPS else "side step"
        command = subparsers.add_parser(name, help=_STEP_HELP.get(name, f"{kind}: {name}"))
        if arguments[:1] == [name]:  # only the stage asked for is imported
            _add_stage_options(command, name)
    show = subparsers.add_parser("show", help="the table of the last evaluation, and where to look further")
    show.add_argument(
        "--reports",
        type=path_option,
        default=Path("reports"),
        help="folder of the reports (default: reports)",
    )
    show.add_argument("--markdown", action="store_true", help="every table of it, as a Markdown page")
    show.set_defaults(command=commands.show)
    inspect = subparsers.add_parser("inspect", help="an HTML page of a curated set: who is in it, what was left out")
    inspect.add_argument("--curated", type=path_option, default=Path("data/curated"), help="(default: data/curated)")
    inspect.add_argument(
        "--raw",
        type=path_text,
        metavar="PATH_OR_URI",
        help="what it was made from: what was left out is shown, too",
    )
    inspect.add_argument(
        "-o",
        "--output",
        type=path_option,
        default=Path("reports/inspect.html"),
        help="page to write",
    )
    inspect.set_defaults(command=commands.inspect)
    describe = subparsers.add_parser("describe", help="parameters, MACs and layers of a variant's networks")
    describe.add_argument("--variant", default="default", help="release, figure or default (compact)")
    describe.add_argument("--hr", type=int, default=128, help="side of the HR image, pixels (default: 128)")
    describe.add_argument("--json", action="store_true", help="everything, layer by layer, as JSON")
    describe.set_defaults(command=commands.describe)
    doctor = subparsers.add_parser("doctor", help="what this machine has and lacks, and what to do")
    doctor.add_argument("--s3", metavar="S3_URI", help="list this too: s3://bucket or s3://bucket/prefix")
    doctor.add_argument("--kfp", default=os.environ.get("KFP_ENDPOINT"), metavar="URL", help="API (KFP_ENDPOINT)")
    doctor.add_argument("--fix", action="store_true", help="close runs in MLflow whose process is gone")
    doctor.add_argument("--dvc", action="store_true", help="only fail if another DVC command is at work here")
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.set_defaults(command=commands.doctor)
    caffe = subparsers.add_parser("import-caffe", help="the authors' weights -> a checkpoint of the variant release")
    caffe.add_argument("file", type=path_option, help="the .caffemodel, of SISR or RefSR")
    caffe.add_argument("-o", "--output", type=path_option, required=True, help="checkpoint to write (.safetensors)")
    caffe.add_argument("--hr", type=int, default=128, help="side of the HR image, pixels (default: 128)")
    caffe.add_argument("--scale", type=int, default=8, help="HR side over LR side (default: 8)")
    caffe.set_defaults(command=commands.import_caffe)
    _add_registry_commands(subparsers)
    return parser


def _add_stage_options(command: argparse.ArgumentParser, name: str) -> None:
    command.add_argument(
        "--params",
        type=path_option,
        default=Path("params.yaml"),
        help="params file (default: params.yaml)",
    )
    for port, kind in steps.ports(steps.load(name)).items():
        key, options = (name, port), [f"--{port.replace('_', '-')}"]
        if kind == "inputs":
            command.add_argument(port, type=path_option, nargs="+", metavar="PART", help="folder of `curate --shard`")
        elif kind == "raw set":
            told = (
                "folder, .tar, .tar.gz or a folder of these; each also as s3://bucket/key (default: data.raw of params)"
            )
            command.add_argument(*options, type=path_text, metavar="PATH_OR_URI", help=told)
        else:
            options += [_ALSO[key]] if key in _ALSO else []
            needed = {"default": _DEFAULTS[key]} if key in _DEFAULTS else {"required": True}
            command.add_argument(*options, type=path_option, metavar="PATH", help=_HELP.get(key, kind), **needed)
    command.set_defaults(command=_run_stage, stage=name, options=[])
    if name == "curate":
        command.add_argument("--shard", metavar="I/N", help="measure the I-th of N parts only, for `merge`")
        command.add_argument("--dry-run", action="store_true", help="say what would be read, and read no image")
        command.set_defaults(options=["shard"])


def _run_stage(options: argparse.Namespace) -> None:
    from refsr.params import load_data, load_section

    section = load_section(options.params, steps.SIDE_STEPS.get(options.stage, options.stage))
    kinds = steps.ports(steps.load(options.stage))
    for port, kind in kinds.items():
        # Read here, not written into a command: a shell would take a path apart.
        if kind == "raw set" and getattr(options, port) is None:
            setattr(options, port, load_data(options.params).raw)
    if getattr(options, "dry_run", False):
        return _preview(options.raw, section)
    named = {key: value for key in (*kinds, *options.options) if (value := getattr(options, key))}
    steps.checked_outputs(options.stage, kinds, named)  # before a model is fetched
    with contextlib.ExitStack() as stack:
        found = {key: _fetched(value, stack) for key, value in named.items()}
        metrics = steps.run(options.stage, section, tracking_uri=tracking_uri(), **found)
    written = [str(named[port]) for port, kind in kinds.items() if kind.endswith("output")]
    if options.stage in ("curate", "merge"):  # a row for each reason why images were left out
        print("\n".join(f"{key:<28} {value:>12,.6g}" for key, value in metrics.items()))
        print(f"{options.stage}: -> {', '.join(written)}")
        return None
    shown = ", ".join(f"{key} {value:.6g}" for key, value in list(metrics.items())[:6])
    print(f"{options.stage}: {shown}{', ...' if len(metrics) > 6 else ''} -> {', '.join(written)}")
    return None


def _preview(raw: str, params: "Section") -> None:
    from refsr.curation.preview import preview

    for key, value in preview(cast("Curate", params), raw).items():
        print(f"{key:<28} {value:>14,}" if isinstance(value, int) else f"{key:<28} {value}")


def _fetched(path: Any, stack: contextlib.ExitStack) -> Any:
    """What is given itself; of a registered version the checkpoint, there until the stack is closed."""
    if not str(path).startswith("models:"):
        return path
    from refsr.integrations.registry import checkpoint_of

    return stack.enter_context(checkpoint_of(tracking_uri(), str(path)))


def _add_registry_commands(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    promote = subparsers.add_parser("promote", help="make a registered version the champion, if the gate still agrees")
    promote.add_argument("version", nargs="?", default="candidate", help="number or alias (default: candidate)")
    rollback = subparsers.add_parser("rollback", help="make the champion before the present one champion again")
    transfer = subparsers.add_parser("transfer", help="copy a registered version to another MLflow store")
    transfer.add_argument("version", nargs="?", default="champion", help="number or alias (default: champion)")
    transfer.add_argument("--from", dest="source", metavar="URI", help="store (default: MLFLOW_TRACKING_URI)")
    transfer.add_argument("--to", dest="target", metavar="URI", required=True, help="store where it becomes candidate")
    transfer.add_argument("--as", dest="name", metavar="NAME", default="", help="name there (default: the same)")
    for command, function in (
        (promote, commands.promote),
        (rollback, commands.rollback),
        (transfer, commands.transfer),
    ):
        command.add_argument(
            "--params",
            type=path_option,
            default=Path("params.yaml"),
            help="params file: name and gate",
        )
        command.set_defaults(command=function)
    upscale = subparsers.add_parser("upscale", help="a small face and a photo of the same person -> a larger face")
    upscale.add_argument("small", type=path_option, help="the small face, cropped")
    upscale.add_argument("--ref", type=path_option, help="a good photo of the same face, cropped")
    upscale.add_argument(
        "-o",
        "--output",
        type=path_option,
        required=True,
        help="image to write; only one that refsr wrote is replaced",
    )
    upscale.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, or checkpoint file",
    )
    upscale.set_defaults(command=commands.upscale)


if __name__ == "__main__":
    sys.excepthook = print_exception
    sys.exit(main())
