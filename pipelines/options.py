"""The options that name the work, shared by commands."""

import argparse
from pathlib import Path

from pipelines.compile import GRAPHS, Work
from refsr.io.paths import path_option, path_text


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the work, wherever it runs."""
    add = parser.add_argument
    default = Path("params.yaml")
    add("--params", type=path_option, default=default, help=f"params file (default: {default})")
    add("--graph", choices=GRAPHS, default="training", help="pipeline to run (default: training)")
    add(
        "--raw",
        type=path_text,
        help="URI of the raw set (default: by the section fetch or synthesize of the params file)",
    )
    add(
        "--sisr",
        type=path_text,
        help="reevaluation: URI of the artifact `sisr` of a training run, to evaluate it too",
    )
    add(
        "--pairs",
        type=path_text,
        help="inference: URI of a folder with small/NAME.png and ref/NAME.png",
    )
    add("--logs", type=path_text, help="drift: URI of a folder with log files of the service")
    add(
        "--curated",
        type=path_text,
        help="drift: URI of the artifact `curated` of the training run",
    )


def work_of(options: argparse.Namespace) -> Work:
    """The work that these options name."""
    return Work(
        options.params,
        options.graph,
        options.raw,
        options.sisr,
        options.pairs,
        options.logs,
        options.curated,
    )
