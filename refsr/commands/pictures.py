"""Commands that upscale photos."""

import logging
from collections.abc import Iterator
from pathlib import Path

from refsr.commands.command import Command, Options, Parser
from refsr.commands.stages import step_command
from refsr.io.paths import path_option, path_text

_logger = logging.getLogger(__name__)


def _upscale_options(parser: Parser) -> None:
    parser.add_argument("small", type=path_option, help="the small face, cropped")
    parser.add_argument(
        "--ref",
        type=path_option,
        action="append",
        default=[],
        help="a good photo of the same face, cropped; several may be given, each with --ref",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=path_option,
        required=True,
        help="image to write; only one that refsr wrote is replaced",
    )
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, checkpoint file or folder, or ONNX file",
    )


def upscale(options: Options) -> None:
    """Upscale one face."""
    from refsr.inference import images
    from refsr.inference.fitting import fitting_note
    from refsr.io.output import check_file
    from refsr.loading import load

    images.output_format(options.output)  # what can be refused before the model is fetched
    check_file(options.output, _given(options), images.is_own_image)
    small = images.read_image(options.small)
    references = [images.read_image(path) for path in options.ref]
    model = load(options.model)
    if references and not model.uses_reference:
        _logger.warning("%s is a single-image model: --ref changes nothing", options.model)
        references = []
    result = model.upscale(small, *references)
    images.write_image(options.output, result)
    height, width = result.shape[:2]
    print(f"{options.output}: {width}x{height} pixels{fitting_note(model.lr_size, small)}")


def _given(options: Options) -> Iterator[tuple[str, Path]]:
    """The files that are read, each with the option that names it."""
    yield "SMALL", options.small
    for path in options.ref:
        yield "--ref", path
    if not options.model.startswith("models:"):
        yield "--model", Path(options.model)


COMMANDS = (
    Command(
        name="upscale",
        help="a small face and a photo of the same person -> a larger face",
        example="upscale small.png --ref portrait.png -o large.png",
        add_options=_upscale_options,
        run=upscale,
    ),
    step_command(
        "upscale_folder",
        "a folder of small faces and references -> a folder of larger faces",
        "upscale-folder --refsr models/refsr --pairs pairs --upscaled upscaled",
    ),
)
