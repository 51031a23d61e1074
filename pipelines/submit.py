"""Compile the training pipeline and start a run: `python -m pipelines.submit --help`."""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import kfp
from kfp_server_api import ApiException

from pipelines.package import arguments, compile_package, immutable_image, is_rendered, reachable_from_a_cluster
from pipelines.resources import load_cluster
from refsr.errors import RefsrError

PATIENCE = 10.0  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Refuse what can be refused here, then compile and submit; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        _submit(options)
    except RefsrError as error:
        print(f"refsr: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.submit", description="Run the stages on Kubeflow.")
    add_run_options(parser)
    parser.add_argument("--image", default="refsr", help="image of the pods; its tag is the git revision unless given")
    parser.add_argument("--cluster", type=Path, help="cluster file: what tasks ask for (default: one GPU, no Secret)")
    parser.add_argument("--output", type=Path, help="keep the compiled package here")
    parser.add_argument("--tracking-uri", **_from("MLFLOW_TRACKING_URI"), help="MLflow server, as pods see it")
    parser.add_argument("--endpoint", **_from("KFP_ENDPOINT"), help="Kubeflow Pipelines API, http(s)://...")
    parser.add_argument("--namespace", **_from("KFP_NAMESPACE"), help="namespace of the run (none: single-user KFP)")
    parser.add_argument("--experiment", default="refsr", help="experiment of the run (default: refsr)")
    parser.add_argument("--run-name", help="name of the run (default: the params file and the image's tag)")
    parser.add_argument("--dry-run", action="store_true", help="check and compile; submit nothing")
    parser.epilog = "KFP_TOKEN, if set, is the bearer token: no option, so that no shell history has it."
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is run, wherever it runs."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="params file (default: params.yaml)")
    parser.add_argument("--raw", help="URI of the raw set; without it the set is rendered as the params file says")


def _from(variable: str) -> dict[str, Any]:
    value = os.environ.get(variable)
    return {"default": value, "required": value is None and variable != "KFP_NAMESPACE"}


def _submit(options: argparse.Namespace) -> None:
    reachable_from_a_cluster(options.tracking_uri, options.raw)
    inputs = arguments(options.params, options.tracking_uri, options.raw)
    rendered = is_rendered(options.params, options.raw)
    image = immutable_image(options.image)
    cluster = load_cluster(options.cluster)
    _require_endpoint(options.endpoint)
    with tempfile.TemporaryDirectory() as folder:
        package = options.output or Path(folder) / "training.yaml"
        compile_package(package, image, cluster, rendered)
        what = f"{options.params} in {image}{f' -> {options.output}' if options.output else ''}"
        if options.dry_run:
            print(f"would be submitted to {options.endpoint}: {what}")
            return
        print(f"{_start(package, inputs, options, image)}: {what}")


def _require_endpoint(endpoint: str) -> None:
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise RefsrError(f"--endpoint {endpoint}: not http(s)://...")


def _start(package: Path, inputs: Mapping[str, Any], options: argparse.Namespace, image: str) -> str:
    """Start the run and return where to look at it."""
    _require_answer(options.endpoint)
    name = options.run_name or f"{options.params.stem} {image.rpartition(':')[2][:12]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns of servers older than the first v2
        try:
            client = kfp.Client(options.endpoint, existing_token=os.environ.get("KFP_TOKEN"))
            result = client.create_run_from_pipeline_package(
                str(package), inputs, name, options.experiment, options.namespace
            )
        except ApiException as error:
            raise RefsrError(f"--endpoint {options.endpoint}: {error.status} {error.reason}: {error.body}") from error
    return f"{options.endpoint.rstrip('/')}/#/runs/details/{result.run_id}"


def _require_answer(endpoint: str) -> None:
    """The client tries for minutes to reach a server; whether one answers at all is known at once."""
    try:
        urlopen(endpoint.rstrip("/") + "/apis/v2beta1/healthz", timeout=PATIENCE).close()  # noqa: S310 - scheme is known
    except HTTPError:
        return  # whatever it says, it is there
    except (OSError, HTTPException) as error:
        raise RefsrError(f"--endpoint {endpoint}: no answer ({error}); name the API with --endpoint") from error


if __name__ == "__main__":
    sys.exit(main())
