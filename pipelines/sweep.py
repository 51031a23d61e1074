"""A search over parameters: Katib's Experiment, and the trial that its pods run."""

import argparse
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster import Cluster, load_cluster
from pipelines.compile import object_name
from pipelines.connection import require
from pipelines.limits import count, seconds
from pipelines.monitor import watch
from pipelines.search_space import (
    Varied,
    assignment,
    changed,
    named_as,
    require_once,
    varied,
)
from pipelines.submit import (
    Submission,
    add_submit_options,
    prepare,
    print_dry_run,
    start,
    write_package,
)
from refsr.errors import RefsrError
from refsr.headline import METRICS
from refsr.integrations.pipeline_runs import metrics_of
from refsr.io.output import check_file
from refsr.io.paths import file_errors_as_messages
from refsr.params import load_section
from refsr.redaction import hide, holds_secret

GRAPH = "search"
TEMPLATE = Path(__file__).with_name("sweep.yaml")
MOUNT = Path("/etc/refsr")  # of the ConfigMap in a trial's pod
ENDPOINT = "http://ml-pipeline.kubeflow:8888"  # as pods reach it, unless --endpoint says other
FAILURES = 3  # trials that may fail before the search ends
METRIC = "difference.right_minus_none.identity.mean"
ALGORITHMS = ("random", "grid", "tpe", "multivariate-tpe", "bayesianoptimization", "sobol", "cmaes")
_FIRST = "# Written by `python -m pipelines sweep`; start it with kubectl apply -f.\n"


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sweep`."""
    add_submit_options(parser)
    add = parser.add_argument
    text = "KEY=A,B,C or KEY=LEAST..MOST[:log], as train_refsr.learning_rate=1e-4..1e-2:log"
    add("--vary", type=varied, action="append", required=True, metavar="KEY=VALUES", help=text)
    add("--metric", choices=METRICS["evaluate"], default=METRIC, help=f"(default: {METRIC})")
    add("--minimize", action="store_true", help="a lower metric is better")
    add("--algorithm", choices=ALGORITHMS, default="random", help="of Katib (default: random)")
    add("--trials", type=count, default=12, help="at most (default: 12)")
    add("--parallel", type=count, default=2, help="trials at a time (default: 2)")


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `trial`."""
    add_submit_options(parser)
    add = parser.add_argument
    add(
        "--set", type=assignment, action="append", default=[], metavar="KEY=VALUE", help="repeat it"
    )
    add("--every", type=seconds, default=30.0, help="seconds between two requests (default: 30)")


def trial(options: argparse.Namespace) -> int:
    """Start a run with some other parameters, wait for its end, and print its first metrics."""
    params = options.params
    require_once("--set", [key for key, _ in options.set], "set it once")
    with tempfile.TemporaryDirectory() as folder, named_as(params, Path(folder)):
        options.params = changed(params, dict(options.set), Path(folder))
        submission = prepare(options)
        package = write_package(submission, options, Path(folder))
        if options.dry_run:
            changes = "".join(f" {key}={value}" for key, value in options.set)
            summary = submission.summary.replace(str(options.params), f"{params}{changes}")
            print_dry_run(submission._replace(summary=summary), package)
            return 0
        options.run = start(submission, options, package)
    status = watch(options)
    if status == 0:
        store = require(submission.target, "tracking_uri")
        for name, value in metrics_of(store, options.run).items():
            print(f"{name}={value:.10g}", flush=True)
    return status


def sweep(options: argparse.Namespace) -> None:
    """Write a Katib Experiment, whose trials are runs of the graph `search`."""
    _check(options)
    options.graph = GRAPH
    options.endpoint = options.endpoint or ENDPOINT
    params = options.params
    with tempfile.TemporaryDirectory() as folder, named_as(params, Path(folder)):
        # The people by whom models are chosen are those of the validation split.
        changes = {"evaluate.split": "validation"}
        options.params = changed(params, changes, Path(folder))
        _check_values(options.params, options.vary)
        submission = prepare(options)
        files = {"params.yaml": _text(options.params), "cluster.yaml": _text(options.cluster)}
    text = yaml.safe_dump_all(objects(options, submission, files), sort_keys=False)
    if options.dry_run:
        print(f"dry run, not written to {options.output}: {options.trials} trials at most")
        return
    with file_errors_as_messages():
        options.output.write_text(_FIRST + text, encoding="utf-8")
    print(options.output)


def _check(options: argparse.Namespace) -> None:
    if options.output is None:
        raise RefsrError("--output is required: the file to write, as sweep.yaml")
    require_once("--vary", [each.key for each in options.vary], "list all its values in one")
    ranges = [each.key for each in options.vary if each.kind == "double"]
    if options.algorithm == "grid" and ranges:
        raise RefsrError(f"--vary {ranges[0]}: a grid needs a list of values, not a range")
    check_file(options.output, (), _is_sweep)


def _text(path: Path | None) -> str:
    return path.read_text(encoding="utf-8") if path else "{}\n"


def _check_values(params: Path, space: Sequence[Varied]) -> None:
    """Check the values that the search may try: those of a list, the ends of a range."""
    with tempfile.TemporaryDirectory() as folder, named_as(params, Path(folder)):
        for each in space:
            for value in each.samples:
                try:
                    load_section(changed(params, {each.key: value}, Path(folder)), "evaluate")
                except RefsrError as error:
                    raise RefsrError(f"--vary {each.key}={value}: {error}") from error


def objects(
    options: argparse.Namespace, submission: Submission, files: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The Kubernetes objects: files of the trials, network policies, the Experiment."""
    made = list(yaml.safe_load_all(TEMPLATE.read_text(encoding="utf-8")))
    name = _experiment_name(options.run_name or f"refsr-{options.params.stem}")
    namespace = submission.target.namespace
    where = {"namespace": namespace} if namespace else {}
    for each, suffix in zip(made, ("", "", "-mlflow", ""), strict=True):
        each["metadata"] = {"name": f"{name}{suffix}", **where, **each["metadata"]}
    config, _, _, experiment = made
    config["data"] = dict(files)
    _fill(experiment["spec"], options)
    job = experiment["spec"]["trialTemplate"]["trialSpec"]
    _fill_pod(job["spec"]["template"]["spec"], name, options, submission)
    return made


def _experiment_name(text: str) -> str:
    name = object_name(text)
    if not re.match("[a-z]", name):
        raise RefsrError(f"--run-name {text}: Katib's names begin with a letter from a to z")
    return name


def _fill_pod(
    pod: dict[str, Any], name: str, options: argparse.Namespace, submission: Submission
) -> None:
    (container,) = pod["containers"]
    container["image"] = submission.image
    container["env"] += _logins(load_cluster(options.cluster))
    container["command"] += _arguments(options, submission)
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = name


def _fill(spec: dict[str, Any], options: argparse.Namespace) -> None:
    others = [name for name in METRICS["evaluate"] if name != options.metric]
    spec["objective"] = {
        "type": "minimize" if options.minimize else "maximize",
        "objectiveMetricName": options.metric,
        "additionalMetricNames": others,
    }
    spec["algorithm"] = {"algorithmName": options.algorithm}
    spec["maxTrialCount"] = options.trials
    # Katib refuses more of these than trials.
    spec["parallelTrialCount"] = min(options.parallel, options.trials)
    spec["maxFailedTrialCount"] = min(FAILURES, options.trials)
    spec["parameters"] = [_parameter(each) for each in options.vary]
    spec["trialTemplate"]["trialParameters"] = [
        {"name": each.name, "reference": each.name, "description": each.key}
        for each in options.vary
    ]


def _parameter(each: Varied) -> dict[str, Any]:
    return {"name": each.name, "parameterType": each.kind, "feasibleSpace": each.space}


def _arguments(options: argparse.Namespace, submission: Submission) -> list[str]:
    """The options of `trial` in a pod: what the cluster file and its ConfigMap do not say.

    Raises RefsrError where the endpoint holds a password.
    """
    if options.endpoint and holds_secret(options.endpoint):
        raise RefsrError(
            f"--endpoint {hide(options.endpoint)}: the sweep would show its password; "
            "pass an address without one, and the token as KFP_TOKEN"
        )
    given = {
        "graph": GRAPH,
        "params": str(MOUNT / "params.yaml"),
        "cluster": str(MOUNT / "cluster.yaml"),
        "endpoint": options.endpoint,
        "namespace": submission.target.namespace,
        "tracking-uri": submission.target.tracking_uri,
        "image": submission.image,
        "raw": options.raw,
        "experiment": options.experiment,
    }
    words = [word for name, value in given.items() if value for word in (f"--{name}", value)]
    for each in options.vary:
        words += ["--set", f"{each.key}=${{trialParameters.{each.name}}}"]
    return words


def _logins(cluster: Cluster) -> list[dict[str, Any]]:
    """The variables that a task takes from Secrets; a trial reads MLflow as `finish` does."""
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for variable, (secret, key) in cluster.secrets_of("finish").items()
    ]


def _is_sweep(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(_FIRST)
