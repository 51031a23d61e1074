"""Commands that write a model in a form for others."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from refsr.commands.command import Command, Options, Parser
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text, require_parent

if TYPE_CHECKING:
    from refsr.io.output import Output
    from refsr.models import SuperResolver


def add_model(parser: Parser) -> None:
    """The option --model."""
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, checkpoint file, or folder of one "
        "(default: models:/refsr@champion)",
    )


def add_realism(parser: Parser) -> None:
    """The option --realism."""
    parser.add_argument(
        "--realism",
        type=float,
        default=0.0,
        help="0 to 1: from the faithful weights to those of the generative phase, where the model "
        "has them: sharper, and more of it made up (default: 0)",
    )


def _export_options(parser: Parser) -> None:
    add_model(parser)
    add_realism(parser)
    parser.add_argument(
        "--onnx",
        type=path_option,
        required=True,
        metavar="FILE",
        help="file to write, ending in .onnx; only one that refsr wrote is replaced",
    )
    parser.add_argument(
        "--int8",
        type=path_option,
        metavar="CURATED",
        help="convolutions of 8 bits: faster; the curated set gives the ranges of values, and "
        "its validation people the loss in dB",
    )


def export(options: Options) -> None:
    """Write a model as ONNX, once it is known to give what the checkpoint gives."""
    from refsr.inference import export, onnx_upscaler, quantization
    from refsr.io.output import check_file
    from refsr.loading import checkpoint_file
    from refsr.models.checkpoint import load_model, read_header

    check_file(options.onnx, given(options.model), export.is_export)
    require_parent(options.onnx)
    if options.onnx.suffix.lower() != onnx_upscaler.SUFFIX:
        raise RefsrError(f"{options.onnx}: a name that ends in {onnx_upscaler.SUFFIX} is needed")
    with checkpoint_file(options.model) as checkpoint:
        network = load_model(checkpoint, realism=options.realism)
        facts = read_header(checkpoint)[1]
    config = cast("SuperResolver", network).config
    scale, hr_size = int(config["scale"]), int(config["hr_size"])
    faces = quantization.faces_of(options.int8, hr_size, scale) if options.int8 else None
    made = export.export(network, facts, options.onnx, faces)
    sizes = " and ".join(f"{width}x{height}" for height, width in made.sizes)
    print(f"{options.onnx}: {options.onnx.stat().st_size / 1e6:.1f} MB")
    print(
        f"equal to PyTorch within {made.difference:.1e} (at most {export.TOLERANCE:.0e}): "
        f"{_listed(made.references)} references, batches of {_listed(export.BATCHES)}, "
        f"LR of {sizes} pixels"
    )
    for count, loss in made.losses.items():
        print(f"8 bits: {loss:.3f} dB less PSNR with {count} references, on validation people")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def given(model: str) -> Iterator[tuple[str, Path]]:
    """The file of a model that is read, with its option."""
    if not model.startswith("models:"):
        yield "--model", Path(model)


def _push_options(parser: Parser) -> None:
    parser.add_argument(
        "folder", type=path_option, help="folder to write; only one that `push` wrote is replaced"
    )
    add_model(parser)
    parser.add_argument(
        "--license",
        default="other",
        metavar="ID",
        help="licence of the weights, as Hugging Face names it (default: other)",
    )
    parser.add_argument(
        "--evaluation",
        type=path_option,
        metavar="FOLDER",
        help="evaluation whose metrics are named (default: that of the registered version)",
    )


def push(options: Options) -> None:
    """Write a model as a folder in the form of Hugging Face's hub."""
    from refsr.integrations import model_folder
    from refsr.integrations.registry import METRICS
    from refsr.io.own_files import read_json
    from refsr.loading import checkpoint_file
    from refsr.tracker import tracking_uri

    model_folder.check_licence(options.license)
    output = _output("push", options.folder, dict(given(options.model)))
    model_folder.require_unchanged(options.folder)
    model, card = options.model, ""
    metrics: dict[str, Any] = {}
    if model.startswith("models:"):
        model, card, metrics = model_folder.described(tracking_uri(), model)
    if options.evaluation:
        metrics = read_json(options.evaluation / METRICS, "evaluate")
    with tempfile.TemporaryDirectory(prefix="refsr-push-") as made:
        with checkpoint_file(model) as checkpoint:
            model_folder.write(Path(made), checkpoint, options.license, card, metrics)
        with output.open(""):
            output.put_in_place(Path(made))
    print(f"{options.folder}: {model}, license {options.license}")


def _pull_options(parser: Parser) -> None:
    parser.add_argument("folder", type=path_option, help="folder that `push` wrote, or its like")
    parser.add_argument(
        "-o",
        "--output",
        type=path_option,
        required=True,
        help="folder to write, as a training leaves it; only one that `pull` wrote is replaced",
    )


def pull(options: Options) -> None:
    """Check a folder in the form of Hugging Face's hub, and write its checkpoint."""
    from refsr.integrations import model_folder
    from refsr.integrations.registry import CHECKPOINT

    output = _output("pull", options.output, {"FOLDER": options.folder})
    with tempfile.TemporaryDirectory(prefix="refsr-pull-") as made:
        config = model_folder.read(options.folder, Path(made) / CHECKPOINT)
        with output.open(""):
            output.put_in_place(Path(made))
    what = "{variant} {model}, {scale}x to {hr_size}x{hr_size} pixels".format(**config)
    print(f"{options.output / CHECKPOINT}: {what}")


def _output(command: str, folder: Path, inputs: Mapping[str, Path]) -> "Output":
    from refsr.io.output import Output, check_apart

    output = Output(command, "FOLDER" if command == "push" else "--output", folder)
    check_apart({output.name: output}, inputs)
    output.check()
    return output


COMMANDS = (
    Command(
        name="export",
        help="a checkpoint or registered version -> an ONNX file, checked against it",
        example="export --model models/refsr --onnx refsr.onnx",
        add_options=_export_options,
        run=export,
    ),
    Command(
        name="push",
        help="a model -> a folder in the form of Hugging Face's hub",
        example="push shared/refsr --model models:/refsr@champion --license cc-by-nc-4.0",
        add_options=_push_options,
        run=push,
    ),
    Command(
        name="pull",
        help="such a folder -> a checkpoint, checked",
        example="pull shared/refsr -o models/pulled",
        add_options=_pull_options,
        run=pull,
    ),
)
