"""The command `calibrate`: limits of `curate` from the distributions of a raw set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.commands.command import Command, Options, Parser, add_params
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text

if TYPE_CHECKING:
    from refsr.config import Curate, Data
    from refsr.curation.calibration_limits import Limit
    from refsr.reporting.calibration import Calibrated

_OUTPUT = Path("reports/calibration.html")
_LEAST, _MOST = 40, 100_000


def _add_options(parser: Parser) -> None:
    add_params(parser, "params file: data, and the section curate")
    text = "raw set, as of `curate` (default: data.raw of params)"
    parser.add_argument("--raw", type=path_text, metavar="PATH_OR_URI", help=text)
    text = "vggface2, people or auto (default: data.layout of params)"
    parser.add_argument("--layout", metavar="NAME", help=text)
    text = "images to look at, about (default: 1000)"
    parser.add_argument("--most", type=int, default=1000, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    text = f"page to write (default: {_OUTPUT})"
    parser.add_argument("-o", "--output", type=path_option, default=_OUTPUT, help=text)
    text = "write what is proposed into the params file; its comments stay"
    parser.add_argument("--write", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="all numbers, as JSON")


def calibrate(options: Options) -> None:
    """Measure a sample, print what is proposed, and write the page."""
    from refsr.reporting import calibration, page

    _check(options)
    data, params = _parameters(options.params)
    raw = options.raw or data.raw
    inputs = {"--params": options.params}
    if not raw.startswith("s3://"):
        inputs["--raw"] = Path(raw)
    page.check(options.output, inputs.items())
    calibrated = _calibrated(options, raw, options.layout or data.layout, params)
    page.save(calibration.render(calibrated), options.output)
    written = _write(options.params, calibrated.limits) if options.write else []
    if options.json:
        document = calibration.document(calibrated)
        print(json.dumps(document | {"page": str(options.output), "written": written}, indent=2))
        return
    print(calibration.table_text(calibrated))
    print(f"page  {options.output}")
    if options.write:
        print(f"{options.params}: {', '.join(written) or 'nothing to change'}")


def _check(options: Options) -> None:
    if not _LEAST <= options.most <= _MOST:
        raise RefsrError(f"--most {options.most}: {_LEAST} to {_MOST:,} images are looked at")
    if not 0 <= options.seed < 2**32:
        raise RefsrError(f"--seed {options.seed}: 0 to 4294967295 is expected")
    if options.write and not options.params.exists():
        raise RefsrError(f"{options.params}: no such params file; name one with --params")


def _parameters(path: Path) -> tuple["Data", "Curate"]:
    from refsr.config import Curate, Data
    from refsr.params import load_data, load_section

    if not path.exists():
        return Data(), Curate()
    section = load_section(path, "curate")
    return load_data(path), Curate.model_validate(section)


def _calibrated(options: Options, raw: str, layout: str, params: "Curate") -> "Calibrated":
    from refsr.curation import calibration_limits
    from refsr.curation.calibration import measure
    from refsr.curation.face_models import DETECTOR, embed_faces, usable_cores
    from refsr.reporting.calibration import Calibrated

    sample = measure(
        raw, params, embed_faces, usable_cores(), DETECTOR,
        layout=layout, most=options.most, seed=options.seed,
    )  # fmt: skip
    limits = calibration_limits.propose(sample, params, options.seed)
    likeness = calibration_limits.likeness_of_pairs(sample)
    faces = len(sample.groups)
    return Calibrated(raw, sample.people, faces, sample.looked_at, options.seed, limits, likeness)


def _write(path: Path, limits: "Sequence[Limit]") -> list[str]:
    from refsr.integrations.params_file import change

    proposed = {limit.name: limit.proposed for limit in limits if limit.proposed != limit.now}
    return change(path, "curate", proposed)


COMMAND = Command(
    name="calibrate",
    help="propose the limits of `curate` from a raw set's own images",
    example="calibrate --raw photos -o reports/calibration.html",
    add_options=_add_options,
    run=calibrate,
)
