"""Run a command of a command line."""

import argparse
from collections.abc import Sequence

from refsr.console import exit_status


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv` and call `options.command(options)`; returns the exit status."""
    return exit_status(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> int | None:
    status: int | None = options.command(options)
    return status
