"""What a command of `refsr` is, and the options that many of them have."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from refsr.io.paths import path_option

Parser = argparse.ArgumentParser
Options = argparse.Namespace


@dataclass(frozen=True)
class Command:
    """One subcommand: `refsr NAME`."""

    name: str  # kebab-case
    help: str  # one line
    example: str  # a command line, without `refsr`
    add_options: Callable[[Parser], None]
    run: Callable[[Options], int | None]  # the exit status; None is 0
    old_name: str = ""  # accepted for one release more
    stage: str = ""  # what its log lines are marked with; empty: its name

    @property
    def names(self) -> tuple[str, ...]:
        """All that a user may type."""
        return (self.name, self.old_name) if self.old_name else (self.name,)


def add_params(parser: Parser, what: str = "params file") -> None:
    """The option --params."""
    parser.add_argument(
        "--params",
        type=path_option,
        default=Path("params.yaml"),
        help=f"{what} (default: params.yaml)",
    )


def add_log_options(parser: Parser) -> None:
    """-v, -q and --log-json: of `refsr` itself and of every command."""
    unset = argparse.SUPPRESS  # so that a command does not undo what stood before its name
    group = parser.add_argument_group("log lines, on stderr")
    level = group.add_mutually_exclusive_group()
    level.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=unset,
        help="log more, and what libraries warn of",
    )
    level.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=unset,
        help="log warnings and errors only, draw no progress bar",
    )
    group.add_argument(
        "--log-json",
        action="store_true",
        default=unset,
        help="log one JSON object per line (default in a pod)",
    )
