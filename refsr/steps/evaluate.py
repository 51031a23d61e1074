"""Stage `evaluate`: models on people none has seen, and the report of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr.config import Evaluate
from refsr.steps import Input, OptionalInput, Output
from refsr.tracker import Tracker

if TYPE_CHECKING:
    from refsr.evaluation.openings import Openings
    from refsr.evaluation.protocol import Bench, Measured
    from refsr.reporting.report import Findings

FILES = ("report.html", "results.md", "table.txt", "metrics.json")
TITLES = {"sisr": "SISR", "refsr": "RefSR"}  # of the curves of training


def evaluate(
    params: Evaluate,
    tracker: Tracker,
    *,
    curated: Input,
    refsr: Input,
    evaluation: Output,
    sisr: OptionalInput = None,
) -> dict[str, float]:
    """Measure every condition of the protocol on the split `params.split` of `curated`.

    `sisr` and `refsr` are checkpoints, or folders with a model.safetensors; without `sisr` its
    condition is absent. Writes into `evaluation`: metrics.json, headline.json, images.parquet,
    table.txt, results.md, report.html, pictures and plots/. Returns the numbers of metrics.json
    under dotted names. Raises RefsrError where the models do not fit the images.
    """
    import torch

    from refsr.evaluation.protocol import measure
    from refsr.evaluation.statistics import flatten
    from refsr.reporting.report import write

    torch.manual_seed(params.seed)  # some conditions draw samples
    paths = {"refsr": checkpoint(refsr)}
    if sisr:
        paths["sisr"] = checkpoint(sisr)
    paths |= params.compare
    bench = _bench(params, curated, paths)
    openings = _opened(params, tracker, bench, paths["refsr"])
    measured = measure(bench, params.batch_size)
    metrics = _numbers(params, bench, measured) | checkpoint_facts(paths)
    findings = replace(_findings(params, bench, measured, metrics, paths), openings=openings)
    for name, picture in write(findings, evaluation).items():
        tracker.image(picture, name)
    for name in FILES:
        tracker.artifact(evaluation / name)
    return flatten(metrics)


def _opened(
    params: Evaluate, tracker: Tracker, bench: "Bench", checkpoint: Path
) -> "Openings | None":
    """Record that the test people are looked at; None for validation people."""
    from refsr.evaluation.openings import record

    if params.split != "test":
        return None
    return record(tracker, bench.curated, bench.models.scale, checkpoint)


def _bench(params: Evaluate, curated: Path, paths: Mapping[str, Path]) -> "Bench":
    """The split of `curated` that is evaluated, and these models, ready to be measured."""
    from refsr.dataset.curated import Curated
    from refsr.evaluation.networks import load_models
    from refsr.evaluation.pairing import pairs
    from refsr.evaluation.protocol import Bench
    from refsr.evaluation.scoring import Scorer

    faces = Curated(curated)
    models = load_models(paths, faces.hr_size)
    scorer = Scorer(models.device, params.lpips)
    return Bench(faces, models, scorer, pairs(faces.table, params.seed, params.split))


def _findings(
    params: Evaluate,
    bench: "Bench",
    measured: "Measured",
    metrics: dict[str, Any],
    paths: Mapping[str, Path],
) -> "Findings":
    """All that the report is made from; people are chosen by their gain."""
    from refsr.evaluation.conditions import OTHERS
    from refsr.evaluation.statistics import gains
    from refsr.reporting.figures import drawn, strips, transfer_grid
    from refsr.reporting.report import Findings, grid_people, ranked

    ranking = gains(measured.table)
    shown = ranked(ranking, params.strips)
    return Findings(
        metrics=metrics,
        table=measured.table,
        gains=ranking,
        strips={name: strips(bench, who) for name, who in shown.items()},
        more_strips=strips(bench, shown["median"], OTHERS),
        samples=drawn(bench, shown["median"]),
        grid=transfer_grid(bench, grid_people(ranking, params.grid)),
        histories={
            title: paths[name].with_name("history.csv")
            for name, title in TITLES.items()
            if name in paths
        },
        summary=bench.curated.folder / "summary.json",
    )


def checkpoint(path: Path) -> Path:
    """The checkpoint of a model given as a file or as the folder its training left."""
    return path / "model.safetensors" if path.is_dir() else path


def checkpoint_facts(paths: Mapping[str, Path]) -> dict[str, Any]:
    """What the checkpoints say of their training: {steps: {model: step}, loss_networks}.

    `loss_networks` are the names of those in the loss of "refsr", "none", or "unknown" where it
    does not say.
    """
    from refsr.models.checkpoint import read_header

    facts = {name: read_header(path)[1] for name, path in paths.items()}
    named = facts["refsr"].get("loss_networks")
    steps = {name: fact["step"] for name, fact in facts.items() if "step" in fact}
    return {
        "steps": steps,
        "loss_networks": "unknown" if named is None else ", ".join(named) or "none",
    }


def _numbers(params: Evaluate, bench: "Bench", measured: "Measured") -> dict[str, Any]:
    """metrics.json: every number of the evaluation."""
    from refsr.evaluation import gap, kid, robustness, samples, slices, statistics
    from refsr.evaluation.compatibility import compatibility

    table, test, seed = measured.table, bench.test, params.seed
    resamples = params.bootstrap
    reference, title = bench.true_images(params.kid_images, seed)
    faces, models, size = bench.curated, bench.models, params.batch_size
    drawn = samples.diversity(faces, models, test, params.samples, size)
    units = samples.active_units(faces, models, test, size)
    verification, thresholds = _verification(bench, measured, resamples, seed)
    true = bench.true_similarity(measured.identity["hr"])
    numbers = {
        "gap": gap.gap_closed(table, true, thresholds["references"], resamples, seed),
        **statistics.summarise(table, resamples, seed),
        **statistics.other_conditions(table, resamples, seed),
        "break_even": statistics.break_even(table, resamples, seed),
        "verification": verification,
        "thresholds": thresholds,
    }
    if min(len(reference), len(test)) > 1:
        numbers["kid"] = kid.kernel_distances(measured.texture, reference, title, seed)
    if params.robustness:
        most = params.robustness
        numbers["robustness"] = robustness.robustness(bench, most, size, resamples, seed)
    if drawn:
        numbers["samples"] = drawn
    if units:
        numbers["latent"] = units
    if rated := compatibility(bench, table, size, resamples, seed):
        numbers["compatibility"] = rated
    groups = slices.groups(faces, test)
    numbers["slices"] = slices.by_slice(table, groups, resamples, seed)
    numbers["identity_scale"] = bench.identity_scale(measured.identity["hr"])
    numbers["data"] = data_of(params, bench)
    return numbers


def _verification(
    bench: "Bench",
    measured: "Measured",
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The true images and the outputs of the main conditions as probes, and the thresholds."""
    from refsr.evaluation import recognition, statistics

    main = statistics.main_conditions(measured.table)
    return recognition.verify(
        {name: measured.identity[name] for name in ("hr", *main)},
        bench.test["person"].to_numpy(),
        bench.known.cpu().numpy(),
        bench.references["person"].to_numpy(),
        resamples,
        seed,
    )


def data_of(params: Evaluate, bench: "Bench") -> dict[str, Any]:
    """Whose images were measured, and how large they are."""
    size = bench.curated.hr_size
    return {
        "split": params.split,
        "identities": bench.test["person"].nunique(),
        "images": len(bench.test),
        "hr_size": size,
        "lr_size": size // bench.models.scale,
    }
