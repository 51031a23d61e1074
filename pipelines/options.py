"""The options that name the work, shared by commands."""

import argparse
from pathlib import Path

from pipelines.compile import GRAPHS, Work
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text

_URIS = {
    "sisr": "reevaluation: URI of the artifact `sisr` of a training run, to evaluate it too",
    "pairs": "inference: URI of a folder with small/NAME.png and ref/NAME.png",
    "logs": "drift: URI of a folder with log files of the service",
    "curated": "drift: URI of the artifact `curated` of the training run",
}
READ = {  # by graph, the options with URIs that it reads
    "training": ("raw",),
    "search": ("raw",),
    "reevaluation": ("raw", "sisr"),
    "inference": ("pairs",),
    "drift": ("logs", "curated"),
}


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
    for name, text in _URIS.items():
        add(f"--{name}", type=path_text, help=text)


def work_of(options: argparse.Namespace) -> Work:
    """The work that these options name.

    Raises RefsrError naming an option that the graph does not read.
    """
    for name in ("raw", *_URIS):
        if getattr(options, name) and name not in READ[options.graph]:
            known = ", ".join(f"--{each}" for each in READ[options.graph])
            raise RefsrError(
                f"--{name}: not read by --graph {options.graph}, which reads {known}; leave it out"
            )
    return Work(
        options.params,
        options.graph,
        options.raw,
        options.sisr,
        options.pairs,
        options.logs,
        options.curated,
    )
