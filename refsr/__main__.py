"""The command line, `refsr` or `python -m refsr`. Its commands stand in refsr.commands.GROUPS."""

import argparse
import sys
from collections.abc import Sequence

from refsr import commands, log
from refsr.commands.command import Command, add_log_options
from refsr.console import end_on_sigterm, exit_status, run_as_process
from refsr.redaction import Parser
from refsr.version import __version__


def console() -> None:
    """Run the command line as a process of its own."""
    run_as_process(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a user's error is printed as one message."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end_on_sigterm()
    command = _named(arguments)
    with log.stage(command.stage or command.name if command else "refsr"):
        return exit_status(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int | None:
    log.set_up(as_json=True if "--log-json" in arguments else None)
    options = _parser(arguments).parse_args(arguments)
    _set_up_log(options)
    status: int | None = options.command(options)
    return status


def _set_up_log(options: argparse.Namespace) -> None:
    verbosity: log.Verbosity = "normal"
    if getattr(options, "verbose", False):
        verbosity = "verbose"
    if getattr(options, "quiet", False):
        verbosity = "quiet"
    log.set_up(verbosity, getattr(options, "log_json", None))


def _named(arguments: Sequence[str]) -> Command | None:
    """The command that is asked for; only its options, and so its modules, are loaded."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    return next((each for each in commands.every() if name in each.names), None)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="refsr",
        usage="refsr [-v | -q] [--log-json] COMMAND ...",
        description="Reference-based face super-resolution.",
        epilog=commands.overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"refsr {__version__}")
    add_log_options(parser)
    subparsers = parser.add_subparsers(
        prog="refsr", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    asked = _named(arguments)
    for command in commands.every():
        chosen = subparsers.add_parser(
            command.name,
            aliases=[command.old_name] if command.old_name else [],
            description=command.help,
            epilog=f"example:\n  refsr {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command is asked:
            command.add_options(chosen)
            add_log_options(chosen)
        chosen.set_defaults(command=command.run)
    return parser


if __name__ == "__main__":
    console()
