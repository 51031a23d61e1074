"""Commands that upscale photos."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.commands.command import Command, Options, Parser
from refsr.commands.stages import step_command
from refsr.io.paths import path_option, path_text
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    import numpy as np
    from torch.nn import Module

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
        "--drop-misfits",
        action="store_true",
        help="do without references that do not fit the face",
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
        help="registered version, or checkpoint file",
    )


def upscale(options: Options) -> None:
    """Upscale one face."""
    from refsr.inference import images
    from refsr.inference.upscaler import fitting_note, upscale_by, uses_reference
    from refsr.integrations.registry import checkpoint_of
    from refsr.io import marker
    from refsr.io.output import check_file
    from refsr.models.checkpoint import load_model

    images.output_format(options.output)  # what can be refused before the model is fetched
    check_file(options.output, _given(options), images.is_own_image)
    small = images.read_image(options.small)
    references = [images.read_image(path) for path in options.ref]
    with checkpoint_of(tracking_uri(), options.model) as checkpoint:
        marker.require_whole(checkpoint)
        model = load_model(checkpoint)
    if references and not uses_reference(model):
        _logger.warning("%s is a single-image model: --ref changes nothing", options.model)
    chosen = _rated(options, model, small, references)
    result = upscale_by(model, small, chosen)
    images.write_image(options.output, result)
    height, width = result.shape[:2]
    print(f"{options.output}: {width}x{height} pixels{fitting_note(model, small)}")


def _rated(
    options: Options, model: "Module", small: "np.ndarray", references: list["np.ndarray"]
) -> list["np.ndarray"]:
    """The references to use; how well each fits is printed, where the model says so."""
    from refsr.inference.upscaler import compatibility, fit_sentence
    from refsr.models.compatibility import MISFIT

    chosen = []
    fits = compatibility(model, small, references)
    for path, reference, fit in zip(options.ref, references, fits, strict=True):
        misfit = fit is not None and fit < MISFIT
        left_out = misfit and options.drop_misfits
        if fit is not None:
            print(fit_sentence(path, fit, left_out=left_out))
        if misfit and not left_out:
            _logger.warning("%s does not fit the face; --drop-misfits does without it", path)
        if not left_out:
            chosen.append(reference)
    return chosen


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
