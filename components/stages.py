"""A component per stage, named as the stage. `params` is its section of the params file.

One definition runs on a cluster and under kfp.local: lightweight, nothing installed at run time, the image set when a
pipeline is compiled. Numbers are not Optional, and no component returns a value a condition could hang on: the local
runner gets both wrong without a word. Artifacts may be left out where the step can do without.
"""

from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

IMAGE = "refsr:unset"  # a package holds the image of one revision instead: see pipelines.graphs.training

component = partial(dsl.component, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)


@component
def synthesize(params: dict[str, Any], tracking_uri: str, raw: Output[Dataset], metrics: Output[Metrics]) -> None:
    """Render the embedded raw set."""
    from components.shell import run

    run("synthesize", params, tracking_uri, metrics, raw=raw)


@component
def fetch(params: dict[str, Any], tracking_uri: str, raw: Output[Dataset], metrics: Output[Metrics]) -> None:
    """A raw set by its DVC revision."""
    from components.shell import run

    run("fetch", params, tracking_uri, metrics, raw=raw)


@component
def curate(
    params: dict[str, Any],
    tracking_uri: str,
    uri: str,
    layout: str,
    shard: str,
    curated: Output[Dataset],
    metrics: Output[Metrics],
    raw: Input[Dataset] | None = None,
) -> None:
    """Raw set, an artifact or the URI of one, to identity groups, or to the part I/N of them."""
    from components.shell import run

    run("curate", params, tracking_uri, metrics, uri=uri, raw=raw, curated=curated, layout=layout, shard=shard)


@component
def merge(
    params: dict[str, Any],
    tracking_uri: str,
    uri: str,
    layout: str,
    parts: Input[list[Dataset]],
    curated: Output[Dataset],
    metrics: Output[Metrics],
    raw: Input[Dataset] | None = None,
) -> None:
    """Parts of a curation to identity groups."""
    from components.shell import run

    run("merge", params, tracking_uri, metrics, uri=uri, raw=raw, parts=parts, curated=curated, layout=layout)


@component
def validate(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    validation: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Hold the curated set against its expectations."""
    from components.shell import run

    run("validate", params, tracking_uri, metrics, curated=curated, validation=validation)


@component
def train_sisr(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    validation: Input[Artifact],
    sisr: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Train the single-image network."""
    from components.shell import run

    run("train_sisr", params, tracking_uri, metrics, curated=curated, validation=validation, sisr=sisr)


@component
def train_refsr(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    sisr: Input[Model],
    refsr: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Train the reference network, started from the single-image one."""
    from components.shell import run

    run("train_refsr", params, tracking_uri, metrics, curated=curated, sisr=sisr, refsr=refsr)


@component
def evaluate(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    refsr: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    results: Output[Markdown],
    sisr: Input[Model] | None = None,
) -> None:
    """Measure the networks on people none has seen."""
    from components.shell import run

    run(
        "evaluate",
        params,
        tracking_uri,
        metrics,
        {"evaluation/report.html": report, "evaluation/results.md": results},
        curated=curated,
        sisr=sisr,
        refsr=refsr,
        evaluation=evaluation,
    )


@component
def register(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    sisr: Input[Model],
    refsr: Input[Model],
    evaluation: Input[Artifact],
    registration: Output[Artifact],
    metrics: Output[Metrics],
    card: Output[Markdown],
) -> None:
    """The quality gate, then a version in the registry."""
    from components.shell import run

    run(
        "register",
        params,
        tracking_uri,
        metrics,
        {"registration/model_card.md": card},
        curated=curated,
        sisr=sisr,
        refsr=refsr,
        evaluation=evaluation,
        registration=registration,
    )


@component
def checkpoint(params: dict[str, Any], tracking_uri: str, refsr: Output[Model], metrics: Output[Metrics]) -> None:
    """A registered version as a checkpoint."""
    from components.shell import run

    run("checkpoint", params, tracking_uri, metrics, refsr=refsr)


@component
def upscale_folder(
    params: dict[str, Any],
    tracking_uri: str,
    refsr: Input[Model],
    pairs: Input[Dataset],
    upscaled: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Small faces and references to larger faces."""
    from components.shell import run

    run("upscale_folder", params, tracking_uri, metrics, refsr=refsr, pairs=pairs, upscaled=upscaled)


@component
def finish(status: dsl.PipelineTaskFinalStatus, tracking_uri: str, image: str) -> None:
    """Record in MLflow how the pipeline ended."""
    from components.shell import finish

    finish(status, tracking_uri, image)
