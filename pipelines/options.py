"""What the commands of this package share: options, and how a command ends."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.compile import GRAPHS, Work
from refsr.errors import RefsrError
from refsr.io.paths import file_errors_as_messages, path_option

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


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the work, wherever it runs."""
    add = parser.add_argument
    default = Path("params.yaml")
    add("--params", type=path_option, default=default, help=f"params file (default: {default})")
    add("--graph", choices=GRAPHS, default="training", help="pipeline to run (default: training)")
    add(
        "--raw",
        help="training: URI of the raw set (default: fetch or synthesize, as the params file says)",
    )
    add(
        "--sisr",
        help="reevaluation: URI of the artifact `sisr` of a training run, to evaluate it too",
    )
    add("--pairs", help="inference: URI of a folder with small/NAME.png and ref/NAME.png")


def work_of(options: argparse.Namespace) -> Work:
    """The work that these options name."""
    return Work(
        options.params,
        options.graph,
        options.raw,
        options.sisr,
        options.pairs,
    )
