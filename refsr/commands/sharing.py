"""Commands that write a model in a form for others."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from refsr.commands.command import Command, Options, Parser
from refsr.io.paths import path_option, path_text


def add_model(parser: Parser) -> None:
    """The option --model."""
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, checkpoint file, or folder of one "
        "(default: models:/refsr@champion)",
    )


def _export_options(parser: Parser) -> None:
    add_model(parser)
    parser.add_argument(
        "--onnx",
        type=path_option,
        required=True,
        metavar="FILE",
        help="file to write, ending in .onnx; only one that refsr wrote is replaced",
    )


def export(options: Options) -> None:
    """Write a model as ONNX, once it is known to give what the checkpoint gives."""
    from refsr.inference import export
    from refsr.io.output import check_file
    from refsr.loading import checkpoint_file
    from refsr.models.checkpoint import load_model, read_checkpoint

    check_file(options.onnx, given(options.model), export.is_export)
    with checkpoint_file(options.model) as checkpoint:
        network, facts = load_model(checkpoint), read_checkpoint(checkpoint)[1]
    made = export.export(network, facts, options.onnx)
    sizes = " and ".join(f"{width}x{height}" for height, width in made.sizes)
    print(f"{options.onnx}: {options.onnx.stat().st_size / 1e6:.1f} MB")
    print(
        f"equal to PyTorch within {made.difference:.1e} (at most {export.TOLERANCE:.0e}): "
        f"{_listed(made.references)} references, batches of {_listed(export.BATCHES)}, "
        f"LR of {sizes} pixels"
    )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def given(model: str) -> Iterator[tuple[str, Path]]:
    """The file of a model that is read, with its option."""
    if not model.startswith("models:"):
        yield "--model", Path(model)


COMMANDS = (
    Command(
        name="export",
        help="a checkpoint or registered version -> an ONNX file, checked against it",
        example="export --model models/refsr --onnx refsr.onnx",
        add_options=_export_options,
        run=export,
    ),
)
