"""One component per stage, with the stage's name. `params` is its section of the params file.

The same definitions run on a cluster and under kfp.local. Nothing is installed at run time; the
image is set when a pipeline is compiled. No number is Optional, and no component returns a value:
the local runner handles both wrongly and reports nothing. An artifact is Optional if the stage
does not need it.
"""

from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

IMAGE = "refsr:unset"  # pipelines.task_settings sets the image of a revision

component = partial(
    dsl.component,
    base_image=IMAGE,
    packages_to_install=[],
    install_kfp_package=False,
)


@component
def synthesize(
    params: dict[str, Any],
    tracking_uri: str,
    raw: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Render the synthetic raw set."""
    from components.shell import run

    run("synthesize", params, tracking_uri, metrics, raw=raw)


@component
def fetch(
    params: dict[str, Any],
    tracking_uri: str,
    raw: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Fetch a raw set by its DVC revision."""
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
    """Curate a raw set (an artifact, or a URI) to identity groups, or part I/N of it."""
    from components.shell import run

    run(
        "curate",
        params,
        tracking_uri,
        metrics,
        uri=uri,
        raw=raw,
        curated=curated,
        layout=layout,
        shard=shard,
    )


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
    """Merge the parts of a curation to identity groups."""
    from components.shell import run

    inputs = {"raw": raw, "parts": parts}
    run("merge", params, tracking_uri, metrics, None, uri, layout=layout, **inputs, curated=curated)


@component
def validate(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    validation: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Validate the curated set."""
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

    inputs = {"curated": curated, "validation": validation}
    run("train_sisr", params, tracking_uri, metrics, **inputs, sisr=sisr)


@component
def train_refsr(
    params: dict[str, Any],
    tracking_uri: str,
    curated: Input[Dataset],
    sisr: Input[Model],
    refsr: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Train the reference network; the single-image network initialises it."""
    from components.shell import run

    run("train_refsr", params, tracking_uri, metrics, curated=curated, sisr=sisr, refsr=refsr)


@component
def evaluate(
    params: dict[str, Any],
    tracking_uri: str,
    shard: str,
    curated: Input[Dataset],
    refsr: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    results: Output[Markdown],
    verification: Output[dsl.ClassificationMetrics],
    sisr: Input[Model] | None = None,
) -> None:
    """Evaluate the networks on people that no training has seen, or on part I/N of them."""
    from components.pages import of_evaluation
    from components.shell import run

    show = of_evaluation(report, results, verification)
    inputs = {"curated": curated, "sisr": sisr, "refsr": refsr, "shard": shard}
    run("evaluate", params, tracking_uri, metrics, show, **inputs, evaluation=evaluation)


@component
def merge_evaluation(
    params: dict[str, Any],
    tracking_uri: str,
    parts: Input[list[Artifact]],
    curated: Input[Dataset],
    refsr: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    results: Output[Markdown],
    verification: Output[dsl.ClassificationMetrics],
    sisr: Input[Model] | None = None,
) -> None:
    """Merge the parts of an evaluation."""
    from components.pages import of_evaluation
    from components.shell import run

    show = of_evaluation(report, results, verification)
    inputs = {"parts": parts, "curated": curated, "sisr": sisr, "refsr": refsr}
    run("merge_evaluation", params, tracking_uri, metrics, show, **inputs, evaluation=evaluation)


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
    """Check the quality gate, then register a version."""
    from components.shell import run

    show = {"registration/model_card.md": card}
    inputs = {"curated": curated, "sisr": sisr, "refsr": refsr, "evaluation": evaluation}
    run("register", params, tracking_uri, metrics, show, **inputs, registration=registration)


@component
def checkpoint(
    params: dict[str, Any],
    tracking_uri: str,
    refsr: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Load a registered version as a checkpoint."""
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
    """Upscale small faces with their references."""
    from components.shell import run

    run(
        "upscale_folder", params, tracking_uri, metrics, refsr=refsr, pairs=pairs, upscaled=upscaled
    )


@component
def drift(
    params: dict[str, Any],
    tracking_uri: str,
    refsr: Input[Model],
    curated: Input[Dataset],
    logs: Input[Artifact],
    drift: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """Compare the faces of the service's logs with those of training."""
    from components.shell import run

    show = {"drift/report.html": report}
    inputs = {"refsr": refsr, "curated": curated, "logs": logs}
    run("drift", params, tracking_uri, metrics, show, **inputs, drift=drift)


@component
def finish(status: dsl.PipelineTaskFinalStatus, tracking_uri: str, image: str) -> None:
    """Record in MLflow how the pipeline ended."""
    from components.shell import finish

    finish(status, tracking_uri, image)
