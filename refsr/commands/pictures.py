"""Commands that upscale photos."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr.commands.command import Command, Options, Parser
from refsr.commands.sharing import add_realism
from refsr.commands.stages import step_command
from refsr.io.paths import path_option, path_text

if TYPE_CHECKING:
    import numpy as np

    from refsr.inference.library import Upscaler
    from refsr.inference.portraits import Portrait

_logger = logging.getLogger(__name__)


def _upscale_options(parser: Parser) -> None:
    parser.add_argument(
        "photos",
        type=path_option,
        nargs="+",
        metavar="PHOTO",
        help="small photo, or folder of photos; the face in it is found",
    )
    _reference_options(parser)
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
        help="image to write, or folder for several; only what refsr wrote is replaced",
    )
    parser.add_argument(
        "--all-faces", action="store_true", help="restore every face, not only the person's"
    )
    parser.add_argument(
        "--crop", action="store_true", help="the images are crops of faces; find none"
    )
    parser.add_argument(
        "--sheets", action="store_true", help="also write NAME.sheet.png: before, after, references"
    )
    _sample_options(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def _sample_options(parser: Parser) -> None:
    group = parser.add_argument_group("other possible faces")
    text = "0 to 1: how strongly the face is held to the photo (default: 1)"
    group.add_argument("--fidelity", type=float, help=text)
    text = "0 to 2: 0 is the most likely face, 1 draws a possible one (default: 0)"
    group.add_argument("--temperature", type=float, help=text)
    group.add_argument("--seed", type=int, help="of what is drawn (default: 0)")


def upscale(options: Options) -> None:
    """Enlarge photos and restore the face in them."""
    from refsr.inference import batch
    from refsr.inference.images import read_image
    from refsr.inference.options import PhotoOptions

    chosen = {name: getattr(options, name) for name in ("all_faces", "crop", "drop_misfits")}
    chosen |= _numbers(options, "scale", "sharpness", "fidelity", "temperature", "seed")
    PhotoOptions(**chosen)  # says what is out of range, before any photo is looked at
    todo = batch.jobs(options.photos, options.output)
    references = batch.references_of(options.ref)
    inputs = _given(options, references)
    batch.check_outputs(todo, options.output, inputs, sheets=options.sheets)
    images = {path: read_image(path) for path in references}
    model, digest = _model(options)
    portraits = _portraits(options, model, images, crop=options.crop)
    recipe = batch.recipe(digest, references, chosen)
    results = batch.upscale_all(model, todo, portraits, chosen, recipe, sheets=options.sheets)
    _warn_of_misfits(options, results)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print(
            f"{result['output']}: enlarged {result['scale']:g} times. {' '.join(result['notes'])}"
        )


def _portraits(
    options: Options, model: "Upscaler", images: Mapping[Path, "np.ndarray"], *, crop: bool = False
) -> "list[Portrait]":
    """The references as the network takes them; none where it takes none."""
    from refsr.inference.portraits import portraits_of

    if images and not model.uses_reference:
        _logger.warning("%s is a single-image model: --ref changes nothing", options.model)
        return []
    return portraits_of(model, [*images.values()], names=[*map(str, images)], crop=crop)


def _warn_of_misfits(options: Options, results: Sequence[dict[str, Any]]) -> None:
    from refsr.models.compatibility import MISFIT

    for result in [] if options.drop_misfits else results:
        restored = [face for face in result["faces"] if face["restored"]]
        fits = [fit for face in restored for fit in face["fits"]]
        if any(fit is not None and fit < MISFIT for fit in fits):
            why = "a reference does not fit the face; --drop-misfits does without it"
            _logger.warning("%s: %s", result["photo"], why)


def _reference_options(parser: Parser) -> None:
    """What every way to enlarge pictures takes."""
    parser.add_argument(
        "--ref",
        type=path_option,
        action="append",
        default=[],
        help="good photo of the same person, or folder of them; may be repeated, all are used",
    )
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, checkpoint file or folder, or ONNX file; these on s3:// too",
    )
    parser.add_argument("--scale", type=float, help="times larger (default: what the model gives)")
    parser.add_argument("--sharpness", type=float, help="0 to 1: the model's share (default: 0.9)")
    add_realism(parser)
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        default="cpu",
        help="where the network runs (default: cpu)",
    )


def _video_options(parser: Parser) -> None:
    parser.add_argument("video", type=path_option, help="video of the person")
    _reference_options(parser)
    parser.add_argument(
        "-o", "--output", type=path_option, required=True, help="new file: .mp4, .mkv or .avi"
    )


def upscale_video(options: Options) -> None:
    """Enlarge a video and restore one face in it."""
    from refsr.inference import batch, video
    from refsr.inference.images import read_image
    from refsr.inference.photo import GUESS
    from refsr.io.output import check_file

    video.require_codec(options.output)
    references = batch.references_of(options.ref)
    inputs = [("VIDEO", options.video), *_given(options, references)]
    check_file(options.output, inputs, lambda _: False)  # before the model is fetched
    images = {path: read_image(path) for path in references}
    model, _ = _model(options)
    portraits = _portraits(options, model, images)
    chosen = _numbers(options, "scale", "sharpness")
    made = video.upscale_video(model, options.video, options.output, portraits, **chosen)
    frames = f"{made.frames} frames, in {made.restored} of them the face was restored"
    print(f"{options.output}: {frames}. Sound is left out. {GUESS}")


def _numbers(options: Options, *names: str) -> dict[str, float]:
    """Those of these options that are given."""
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _model(options: Options) -> "tuple[Upscaler, str]":
    """A model, and the digest of its file and realism."""
    from refsr.io.files import file_hash
    from refsr.loading import load, model_file

    with model_file(options.model) as path:
        # says what is wrong with a file that is none
        model = load(path, device=options.device, realism=options.realism)
        return model, file_hash(path) + (f" {options.realism:g}" if options.realism else "")


def _given(options: Options, references: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The other files that are read, each with the option that names it."""
    for path in references:
        yield "--ref", path
    if not options.model.startswith(("models:", "s3://")):
        yield "--model", Path(options.model)


COMMANDS = (
    Command(
        name="upscale",
        help="small photos and good ones of the same person -> larger photos",
        example="upscale small.png --ref portrait.png -o large.png",
        add_options=_upscale_options,
        run=upscale,
    ),
    Command(
        name="upscale-video",
        help="a video and good photos of the person -> a larger video",
        example="upscale-video clip.mp4 --ref portrait.png -o large.mp4",
        add_options=_video_options,
        run=upscale_video,
    ),
    step_command(
        "upscale_folder",
        "a folder of small faces and references -> a folder of larger faces",
        "upscale-folder --refsr models/refsr --pairs pairs --upscaled upscaled",
    ),
)
