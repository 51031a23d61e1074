"""Run a command of the command line and print its error."""

import argparse
import sys
from collections.abc import Sequence

from refsr.errors import RefsrError
from refsr.io.paths import file_errors_as_messages

INTERRUPTED = 130  # exit status of a process that SIGINT ended


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv` and call `options.command(options)`; returns the exit status.

    A RefsrError is printed to stderr as one message.
    """
    try:
        with file_errors_as_messages():
            options = parser.parse_args(argv)
            return options.command(options) or 0
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return INTERRUPTED
