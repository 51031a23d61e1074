"""The command `drift`: whether the faces that the service gets look as in training."""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from refsr.commands.command import Command, Options, Parser
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text

_logger = logging.getLogger(__name__)
STATUS = 3  # exit status of drift; 1 is an error, 2 a wrong option
_DATA = Path("data/curated")
_OUTPUT = Path("reports/drift.html")


class _Data(NamedTuple):
    folder: Path
    revision: str  # empty: that of the folder


def _add_options(parser: Parser) -> None:
    text = "JSON log lines of `refsr serve`: file, folder of files, .gz, or - for stdin"
    parser.add_argument("logs", type=path_option, nargs="+", metavar="LOGS", help=text)
    parser.add_argument(
        "--data",
        type=path_text,
        default=str(_DATA),
        metavar="FOLDER|REV",
        help=f"curated set of the training, or a git revision whose {_DATA} DVC tracks "
        f"(default: {_DATA})",
    )
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="what is served: registered version, checkpoint or folder, ONNX file; its sizes count",
    )
    text = f"page to write (default: {_OUTPUT})"
    parser.add_argument("-o", "--output", type=path_option, default=_OUTPUT, help=text)
    parser.add_argument("--json", action="store_true", help="all numbers, as JSON")


def drift(options: Options) -> int:
    """Compare, print the table and write the page; returns STATUS where there is drift."""
    from refsr.inference.request_log import STDIN
    from refsr.loading import model_file
    from refsr.reporting import drift as report
    from refsr.reporting import page
    from refsr.steps.drift import examine

    inputs = [("LOGS", path) for path in options.logs if path != STDIN]
    page.check(options.output, [*inputs, ("--data", Path(options.data))])
    with _data(options.data) as data, model_file(options.model) as model:
        examined = examine(model, data.folder, options.logs, data.revision)
    page.save(report.render(examined), options.output)
    if options.json:
        print(json.dumps(report.facts(examined), indent=2))
    else:
        print(f"{report.table_text(examined)}\npage  {options.output}")
    return STATUS if examined.verdict == "drift" else 0


@contextlib.contextmanager
def _data(given: str) -> Iterator[_Data]:
    """The curated set, while the block runs; that of a git revision is fetched."""
    if Path(given).is_dir() or "/" in given:
        yield _Data(Path(given), "")
        return
    from refsr.integrations.versioning import fetch_data
    from refsr.side_config import Fetch

    with tempfile.TemporaryDirectory(prefix="refsr-drift-") as work:
        folder = Path(work) / "curated"
        source = Fetch(repository=".", path=str(_DATA), revision=given)
        _logger.info("fetching %s of revision %s", _DATA, given)
        try:
            fetched = fetch_data(source, folder)
        except RefsrError as error:
            raise RefsrError(
                f"--data {given}: no such folder, and as a revision: {error}"
            ) from error
        yield _Data(folder, fetched.md5)


COMMAND = Command(
    name="drift",
    help="whether the faces of the service's logs look as in training",
    example="drift serve.log --data data/curated -o drift.html",
    add_options=_add_options,
    run=drift,
    stage="drift",
)
