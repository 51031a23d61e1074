"""The command line. A stage's options are its own named paths; heavy libraries load only in the one asked for."""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from refsr import __version__, steps
from refsr.errors import RefsrError
from refsr.io.paths import file_errors_as_messages, path_option, path_text
from refsr.redaction import Parser, hide, holds_secret, print_exception

if TYPE_CHECKING:
    from refsr.config import Curate, Register, Section

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
_STEP_HELP = {"merge": "join what `curate --shard I/N` measured"}
# What `evaluate` offers beside the names of its paths: any model on any curated set, into a folder of its own.
_ALSO = {("evaluate", "refsr"): "--model", ("evaluate", "curated"): "--data"}
_DEFAULTS = {("evaluate", "sisr"): None, ("evaluate", "evaluation"): Path("reports/model")}
_HELP = {
    ("evaluate", "refsr"): "checkpoint, its folder, or a registered version: models:/NAME@ALIAS, models:/NAME/VERSION",
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
    except MemoryError as error:
        told = f"not enough memory ({error}); lower batch_size, sizes or widths in the params file"
        print(f"refsr: error: {told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(prog="python -m refsr", description="Reference-based face super-resolution.")
    parser.add_argument("--version", action="version", version=f"refsr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in (*steps.STEPS, *steps.SIDE_STEPS):
        kind = "stage" if name in steps.STEPS else "side step"
        command = commands.add_parser(name, help=_STEP_HELP.get(name, f"{kind}: {name}"))
        if arguments[:1] == [name]:  # only the stage asked for is imported
            _add_stage_options(command, name)
    show = commands.add_parser("show", help="the table of the last evaluation, and where to look further")
    show.add_argument(
        "--reports", type=path_option, default=Path("reports"), help="folder of the reports (default: reports)"
    )
    show.add_argument("--markdown", action="store_true", help="every table of it, as a Markdown page")
    show.set_defaults(command=_show)
    inspect = commands.add_parser("inspect", help="an HTML page of a curated set: who is in it, what was left out")
    inspect.add_argument("--curated", type=path_option, default=Path("data/curated"), help="(default: data/curated)")
    inspect.add_argument(
        "--raw", type=path_text, metavar="PATH_OR_URI", help="what it was made from: what was left out is shown, too"
    )
    inspect.add_argument("-o", "--output", type=path_option, default=Path("reports/inspect.html"), help="page to write")
    inspect.set_defaults(command=_inspect)
    describe = commands.add_parser("describe", help="parameters, MACs and layers of a variant's networks")
    describe.add_argument("--variant", default="default", help="release, figure or default (compact)")
    describe.add_argument("--hr", type=int, default=128, help="side of the HR image, pixels (default: 128)")
    describe.add_argument("--json", action="store_true", help="everything, layer by layer, as JSON")
    describe.set_defaults(command=_describe)
    doctor = commands.add_parser("doctor", help="what this machine has and lacks, and what to do")
    doctor.add_argument("--s3", metavar="S3_URI", help="list this too: s3://bucket or s3://bucket/prefix")
    doctor.add_argument("--kfp", default=os.environ.get("KFP_ENDPOINT"), metavar="URL", help="API (KFP_ENDPOINT)")
    doctor.add_argument("--fix", action="store_true", help="close runs in MLflow whose process is gone")
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.set_defaults(command=_doctor)
    caffe = commands.add_parser("import-caffe", help="the authors' weights -> a checkpoint of the variant release")
    caffe.add_argument("file", type=path_option, help="the .caffemodel, of SISR or RefSR")
    caffe.add_argument("-o", "--output", type=path_option, required=True, help="checkpoint to write (.safetensors)")
    caffe.add_argument("--hr", type=int, default=128, help="side of the HR image, pixels (default: 128)")
    caffe.add_argument("--scale", type=int, default=8, help="HR side over LR side (default: 8)")
    caffe.set_defaults(command=_import_caffe)
    _add_registry_commands(commands)
    return parser


def _add_stage_options(command: argparse.ArgumentParser, name: str) -> None:
    command.add_argument(
        "--params", type=path_option, default=Path("params.yaml"), help="params file (default: params.yaml)"
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
    from refsr.steps.curate import preview

    for key, value in preview(cast("Curate", params), raw).items():
        print(f"{key:<28} {value:>14,}" if isinstance(value, int) else f"{key:<28} {value}")


def _fetched(path: Any, stack: contextlib.ExitStack) -> Any:
    """What is given itself; of a registered version the checkpoint, there until the stack is closed."""
    if not str(path).startswith("models:"):
        return path
    from refsr.services.registry import checkpoint_of

    return stack.enter_context(checkpoint_of(tracking_uri(), str(path)))


def _inspect(options: argparse.Namespace) -> None:
    from refsr.evaluation import inspection

    inspection.write(options.curated, options.output, options.raw)
    print(options.output)


def _describe(options: argparse.Namespace) -> None:
    from refsr.models.describe import describe

    described = describe(options.variant, options.hr)
    if options.json:
        print(json.dumps(described, indent=2))
        return
    print(f"{'':<6} {'in training':>12} {'deployed':>12} {'GMACs':>7}")
    for name in ("sisr", "refsr"):
        model = described[name]
        counts = f"{model['parameters']:>12,} {model['parameters_deployed']:>12,}"
        print(f"{name:<6} {counts} {model['macs'] / 1e9:>7.2f}")


def _import_caffe(options: argparse.Namespace) -> None:
    from refsr.models.caffe import import_caffe

    made = import_caffe(options.file, options.output, options.hr, options.scale)
    print(f"{options.output}: release {made.model}, {made.parameters:,} parameters of {made.layers} layers")
    for why in sorted(set(made.left_out.values())):
        blobs = [blob for blob, reason in made.left_out.items() if reason == why]
        print(f"left out, {why}: {' '.join(blobs)}")


def _doctor(options: argparse.Namespace) -> None:
    from refsr.doctor import examine

    findings = []
    for finding in examine(tracking_uri(), options.kfp, options.s3, fix=options.fix):
        findings.append(finding)
        if not options.json:
            todo = f"\n{'':<15} {finding.todo}" if finding.todo else ""
            print(f"{finding.state:<4} {finding.check:<10} {finding.told}{todo}", flush=True)
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    failed = [finding.check for finding in findings if finding.state == "fail"]
    if failed:
        raise RefsrError(f"doctor: {', '.join(failed)}: see what to do above")


def _show(options: argparse.Namespace) -> None:
    evaluation = options.reports / "evaluation"
    if not (evaluation / "table.txt").is_file():
        raise RefsrError(f"{evaluation}: no evaluation here yet; `make demo` or `dvc repro` makes one")
    shown = evaluation / ("results.md" if options.markdown else "table.txt")
    try:
        text = shown.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RefsrError(f"{shown}: missing or damaged; run the stage `evaluate` again") from error
    if options.markdown:
        print(text, end="")
        return
    print(text)
    pages = {
        "report": evaluation / "report.html",
        "validation": options.reports / "validation" / "data_docs" / "index.html",
        "model card": options.reports / "registration" / "model_card.md",
    }
    for name, path in pages.items():
        if path.exists():
            print(f"{name:<11} {path}")
    uri = tracking_uri()
    print(f"{'MLflow':<11} {hide(uri)}")
    given = '"$MLFLOW_TRACKING_URI"' if holds_secret(uri) else uri
    print(f"{'its UI':<11} {os.path.relpath(sys.executable)} -m mlflow ui --backend-store-uri {given}")


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, or an SQLite file in the present folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)


def _add_registry_commands(commands: "argparse._SubParsersAction[Parser]") -> None:
    promote = commands.add_parser("promote", help="make a registered version the champion, if the gate still agrees")
    promote.add_argument("version", nargs="?", default="candidate", help="number or alias (default: candidate)")
    rollback = commands.add_parser("rollback", help="make the champion before the present one champion again")
    transfer = commands.add_parser("transfer", help="copy a registered version to another MLflow store")
    transfer.add_argument("version", nargs="?", default="champion", help="number or alias (default: champion)")
    transfer.add_argument("--from", dest="source", metavar="URI", help="store (default: MLFLOW_TRACKING_URI)")
    transfer.add_argument("--to", dest="target", metavar="URI", required=True, help="store where it becomes candidate")
    transfer.add_argument("--as", dest="name", metavar="NAME", default="", help="name there (default: the same)")
    for command, function in ((promote, _promote), (rollback, _rollback), (transfer, _transfer)):
        command.add_argument(
            "--params", type=path_option, default=Path("params.yaml"), help="params file: name and gate"
        )
        command.set_defaults(command=function)
    upscale = commands.add_parser("upscale", help="a small face and a photo of the same person -> a larger face")
    upscale.add_argument("small", type=path_option, help="the small face, cropped")
    upscale.add_argument("--ref", type=path_option, help="a good photo of the same face, cropped")
    upscale.add_argument(
        "-o", "--output", type=path_option, required=True, help="image to write; only one that refsr wrote is replaced"
    )
    upscale.add_argument(
        "--model", type=path_text, default="models:/refsr@champion", help="registered version, or checkpoint file"
    )
    upscale.set_defaults(command=_upscale)


def _promote(options: argparse.Namespace) -> None:
    from refsr.steps.register import promote

    params = _register_params(options)
    print(f"version {promote(tracking_uri(), params, options.version)} of {params.name} is champion")


def _rollback(options: argparse.Namespace) -> None:
    from refsr.services.registry import Registry

    name = _register_params(options).name
    left, now = Registry(tracking_uri(), name).rollback()
    print(f"version {now} of {name} is champion again, in place of version {left}")


def _transfer(options: argparse.Namespace) -> None:
    from refsr.steps.transfer import transfer

    params = _register_params(options)
    made, taken = transfer(options.source or tracking_uri(), options.target, params, options.version, options.name)
    there = f"version {made} of {options.name or params.name} in {hide(options.target)}"
    print(f"version {taken} of {params.name} is {there}, and candidate there")


def _register_params(options: argparse.Namespace) -> "Register":
    from refsr.params import load_section

    return cast("Register", load_section(options.params, "register"))


def _upscale(options: argparse.Namespace) -> None:
    from refsr.inference import images
    from refsr.inference.upscaler import fitting_note, upscale
    from refsr.io.output import check_file
    from refsr.models.checkpoint import load_model
    from refsr.services.registry import checkpoint_of

    images.output_format(options.output)  # what can be refused before the model is fetched
    given = {"SMALL": options.small, "--ref": options.ref, "--model": options.model}
    read = {option: Path(path) for option, path in given.items() if path and not str(path).startswith("models:")}
    check_file(options.output, read, images.is_own_image)
    small = images.read_image(options.small)
    ref = images.read_image(options.ref) if options.ref else None
    with checkpoint_of(tracking_uri(), options.model) as checkpoint:
        model = load_model(checkpoint)
    result = upscale(model, small, ref)
    images.write_image(options.output, result)
    print(f"{options.output}: {result.shape[1]}x{result.shape[0]} pixels{fitting_note(model, small)}")


if __name__ == "__main__":
    sys.excepthook = print_exception
    sys.exit(main())
