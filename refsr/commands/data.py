"""Commands about raw and curated sets."""

from pathlib import Path

from refsr.commands import calibrate
from refsr.commands.command import Command, Options, Parser
from refsr.commands.stages import step_command
from refsr.io.paths import path_option, path_text


def _inspect_options(parser: Parser) -> None:
    parser.add_argument(
        "--curated",
        type=path_option,
        default=Path("data/curated"),
        help="(default: data/curated)",
    )
    parser.add_argument(
        "--raw",
        type=path_text,
        metavar="PATH_OR_URI",
        help="what it was made from: what was left out is shown, too",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=path_option,
        default=Path("reports/inspect.html"),
        help="page to write",
    )


def inspect(options: Options) -> None:
    """Write the page of a curated set."""
    from refsr.reporting import inspection

    inspection.write(options.curated, options.output, options.raw)
    print(options.output)


COMMANDS = (
    Command(
        name="inspect",
        help="an HTML page of a curated set: who is in it, what was left out",
        example="inspect --curated data/curated --raw data/rendered",
        add_options=_inspect_options,
        run=inspect,
    ),
    calibrate.COMMAND,
    step_command(
        "merge",
        "join what `curate --shard I/N` measured",
        "merge --raw data/rendered --curated data/curated parts/1 parts/2",
    ),
    step_command("fetch", "copy a raw set by its DVC revision", "fetch --raw data/raw"),
)
