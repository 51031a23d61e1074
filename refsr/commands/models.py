"""Commands about networks and checkpoints."""

import json
from dataclasses import replace

from refsr.commands import seeds, sharing
from refsr.commands.command import Command, Options, Parser
from refsr.commands.stages import step_command
from refsr.io.paths import path_option
from refsr.variants import DEFAULT, VARIANTS


def _describe_options(parser: Parser) -> None:
    text = f"one of {', '.join(VARIANTS)} (default: {DEFAULT})"
    parser.add_argument("--variant", default=DEFAULT, help=text)
    _add_hr(parser)
    parser.add_argument("--json", action="store_true", help="everything, layer by layer, as JSON")


def _add_hr(parser: Parser) -> None:
    parser.add_argument(
        "--hr", type=int, default=128, help="side of the HR image, pixels (default: 128)"
    )


def describe(options: Options) -> None:
    """Print what the networks of a variant are made of."""
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


def _import_caffe_options(parser: Parser) -> None:
    parser.add_argument("file", type=path_option, help="the .caffemodel, of SISR or RefSR")
    parser.add_argument(
        "-o",
        "--output",
        type=path_option,
        required=True,
        help="checkpoint to write (.safetensors)",
    )
    _add_hr(parser)
    parser.add_argument("--scale", type=int, default=8, help="HR side over LR side (default: 8)")


def import_caffe(options: Options) -> None:
    """Turn the authors' weights into a checkpoint."""
    from refsr.models.caffe import import_caffe

    made = import_caffe(options.file, options.output, options.hr, options.scale)
    counts = f"{made.parameters:,} parameters of {made.layers} layers"
    print(f"{options.output}: release {made.model}, {counts}")
    for why in sorted(set(made.left_out.values())):
        blobs = [blob for blob, reason in made.left_out.items() if reason == why]
        print(f"left out, {why}: {' '.join(blobs)}")


COMMANDS = (
    Command(
        name="describe",
        help="parameters, MACs and layers of a variant's networks",
        example="describe --variant release --hr 128",
        add_options=_describe_options,
        run=describe,
    ),
    Command(
        name="import-caffe",
        help="the authors' weights -> a checkpoint of the variant release",
        example="import-caffe RefSR.caffemodel -o models/release.safetensors",
        add_options=_import_caffe_options,
        run=import_caffe,
    ),
    step_command(
        "checkpoint",
        "a registered version as a checkpoint",
        "checkpoint --refsr models/champion",
    ),
    seeds.COMMAND,
    replace(
        step_command(
            "merge_evaluation",
            "join what `evaluate --shard I/N` measured",
            "merge-evaluation parts/1 parts/2 --curated data/curated --refsr models/refsr"
            " --evaluation reports/evaluation",
        ),
        old_name="",
    ),
    *sharing.COMMANDS,
)
