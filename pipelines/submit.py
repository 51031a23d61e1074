"""Compile a pipeline and send it: as a run, as a schedule, or as a version that waits to be run.

`python -m pipelines.submit ...` is `python -m pipelines submit ...`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.cluster import Target, load_cluster
from pipelines.compile import (
    GRAPHS,
    Work,
    arguments,
    build,
    compile_package,
    immutable_image,
    object_name,
    reachable_from_a_cluster,
)
from pipelines.connection import add_target_options, api, endpoint_of, require, resolve
from refsr.config import SECTIONS
from refsr.console import run_as_process
from refsr.io.paths import path_option
from refsr.params import load_section
from refsr.redaction import hide


class Order(NamedTuple):
    """All of a run that can be checked before anybody is asked."""

    pipeline: Any
    image: str
    inputs: dict[str, Any]
    target: Target
    what: str


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m pipelines submit` by its older name."""
    from pipelines.__main__ import main as door

    return door(["submit", *(sys.argv[1:] if argv is None else argv)])


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is run, wherever it runs."""
    parser.add_argument(
        "--params", type=path_option, default=Path("params.yaml"), help="params file (default: params.yaml)"
    )
    parser.add_argument("--graph", choices=GRAPHS, default="training", help="what is run (default: training)")
    parser.add_argument("--raw", help="training: URI of the raw set (default: fetch or synthesize, as the params say)")
    parser.add_argument("--sisr", help="reevaluation: URI of the artifact `sisr` of a training run, to be measured too")
    parser.add_argument("--pairs", help="inference: URI of a folder with small/NAME.png and ref/NAME.png")


def work_of(options: argparse.Namespace) -> Work:
    """What those options say is run."""
    return Work(options.params, options.graph, options.raw, options.sisr, options.pairs)


def add_submit_options(parser: argparse.ArgumentParser) -> None:
    """The options of what is sent."""
    add_run_options(parser)
    add_target_options(parser)
    parser.add_argument("--experiment", default="refsr", help="experiment of the run (default: refsr)")
    parser.add_argument("--run-name", help="its name (default: the params file and the image's tag)")
    parser.add_argument("--output", type=path_option, help="keep the compiled package here")
    parser.add_argument("--dry-run", action="store_true", help="check and compile; send nothing")


def order(options: argparse.Namespace) -> Order:
    """Refuse what can be refused here: RefsrError naming the key, the option or the file at fault."""
    cluster = load_cluster(options.cluster)
    target = resolve(options, cluster.target)
    endpoint_of(target)
    tracking_uri = require(target, "tracking_uri")
    work = work_of(options)
    reachable_from_a_cluster(tracking_uri, work.uris())
    for name in SECTIONS:  # all of the file must be sound, whatever the graph looks at
        load_section(work.params, name)
    image = immutable_image(require(target, "image"))
    pipeline = build(work, image, cluster)
    inputs = arguments(pipeline, work, tracking_uri)
    return Order(pipeline, image, inputs, target, f"{work.graph} with {work.params} in {image}")


def submit(options: argparse.Namespace) -> None:
    """Start a run now."""
    wanted = order(options)
    with tempfile.TemporaryDirectory() as folder:
        package = _package(wanted, options, Path(folder))
        if options.dry_run:
            print(hide(f"would be submitted to {wanted.target.endpoint}: {wanted.what}"))
            return
        with api(wanted.target) as client:
            run = client.create_run_from_pipeline_package(
                str(package), wanted.inputs, run_name(wanted, options), options.experiment, wanted.target.namespace
            )
    print(hide(f"{endpoint_of(wanted.target)}/#/runs/details/{run.run_id}: {wanted.what}"))


def schedule(options: argparse.Namespace) -> None:
    """Start a run again and again, by a cron expression of six fields, the first of them seconds."""
    wanted = order(options)
    with tempfile.TemporaryDirectory() as folder:
        package = _package(wanted, options, Path(folder))
        if options.dry_run:
            print(hide(f"would be scheduled at {wanted.target.endpoint}, {options.cron}: {wanted.what}"))
            return
        with api(wanted.target) as client:
            experiment = client.create_experiment(options.experiment, namespace=wanted.target.namespace)
            made = client.create_recurring_run(
                experiment.experiment_id,
                run_name(wanted, options),
                cron_expression=options.cron,
                no_catchup=True,
                params=wanted.inputs,
                pipeline_package_path=str(package),
            )
    where = f"{endpoint_of(wanted.target)}/#/recurringrun/details/{made.recurring_run_id}"
    print(hide(f"{where}: {options.cron}: {wanted.what}"))


def upload(options: argparse.Namespace) -> None:
    """Leave the pipeline as a version on the server, named by the image's tag, for people to start from the UI."""
    wanted = order(options)
    version = object_name(wanted.image.rpartition(":")[2])
    with tempfile.TemporaryDirectory() as folder:
        package = _package(wanted, options, Path(folder))
        if options.dry_run:
            print(hide(f"would be uploaded to {wanted.target.endpoint} as version {version}"))
            return
        with api(wanted.target) as client:
            name = wanted.pipeline.name
            if client.get_pipeline_id(name):
                client.upload_pipeline_version(str(package), version, pipeline_name=name)
            else:
                client.upload_pipeline(str(package), name, namespace=wanted.target.namespace)


def run_name(wanted: Order, options: argparse.Namespace) -> str:
    """What a run is called unless told."""
    name: str = options.run_name or f"{options.params.stem} {wanted.image.rpartition(':')[2][:12]}"
    return name


def _package(wanted: Order, options: argparse.Namespace, folder: Path) -> Path:
    package: Path = options.output or folder / f"{options.graph}.yaml"
    compile_package(package, wanted.pipeline)
    return package


if __name__ == "__main__":
    run_as_process(main)
