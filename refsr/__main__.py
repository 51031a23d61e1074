"""The command line. A stage's options are its own named paths; heavy libraries load only in the subcommand asked for."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from refsr import __version__, steps
from refsr.errors import RefsrError

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what a user can mend is printed as one message."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser(arguments).parse_args(arguments)
        options.command(options)
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("refsr: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m refsr", description="Reference-based face super-resolution.")
    parser.add_argument("--version", action="version", version=f"refsr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in steps.STEPS:
        command = commands.add_parser(name, help=f"stage: {name}")
        if arguments[:1] == [name]:  # only the stage asked for is imported
            _add_stage_options(command, name)
    _add_registry_commands(commands)
    return parser


def _add_stage_options(command: argparse.ArgumentParser, name: str) -> None:
    command.add_argument("--params", type=Path, default=Path("params.yaml"), help="params file (default: params.yaml)")
    for port, kind in steps.ports(steps.load(name)).items():
        command.add_argument(f"--{port.replace('_', '-')}", type=Path, required=True, metavar="PATH", help=kind)
    command.set_defaults(command=_run_stage, stage=name)


def _run_stage(options: argparse.Namespace) -> None:
    from refsr.config import load_section

    section = load_section(options.params, options.stage)
    paths = {port: getattr(options, port) for port in steps.ports(steps.load(options.stage))}
    metrics = steps.run(options.stage, section, tracking_uri=tracking_uri(), **paths)
    for key, value in metrics.items():
        print(f"{key} = {value:.6g}")


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, or an SQLite file in the present folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)


def _add_registry_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """promote, rollback and upscale."""


if __name__ == "__main__":
    sys.exit(main())
