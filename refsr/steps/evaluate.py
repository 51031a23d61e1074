"""Stage `evaluate`: models on people none has seen, and the report of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr.config import Evaluate
from refsr.share import parse_share
from refsr.steps import Input, OptionalInput, Output
from refsr.tracker import Tracker

if TYPE_CHECKING:
    from refsr.evaluation.openings import Openings
    from refsr.evaluation.protocol import Bench
    from refsr.evaluation.records import Records
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
    shard: str = "",
) -> dict[str, float]:
    """Measure every condition of the protocol on the split `params.split` of `curated`.

    `sisr` and `refsr` are checkpoints, or folders with a model.safetensors; without `sisr` its
    condition is absent. Writes into `evaluation`: metrics.json, headline.json, images.parquet,
    table.txt, results.md, report.html, pictures and plots/. Returns the numbers of metrics.json
    under dotted names. With `shard`, I/N, only the I-th of N parts of the people are measured, for
    `merge_evaluation` to join. Raises RefsrError where the models do not fit the images.
    """
    from refsr.evaluation import records, shards

    share = parse_share(shard) if shard else None
    paths = checkpoints(params, refsr, sisr)
    bench = bench_of(params, curated, paths)
    openings = opened(params, tracker, bench, paths["refsr"], shard)
    if share:
        facts = shards.facts_of(bench, params, paths)
        counts = shards.write(bench, params, facts, share, evaluation)
        tracker.metrics(counts)
        return counts
    return report(
        params, tracker, bench, paths, openings, records.record(bench, params), evaluation
    )


def checkpoints(params: Evaluate, refsr: Path, sisr: Path | None) -> dict[str, Path]:
    """The checkpoints that are evaluated, by name."""
    paths = {"refsr": checkpoint(refsr)}
    if sisr:
        paths["sisr"] = checkpoint(sisr)
    return paths | params.compare


def report(
    params: Evaluate,
    tracker: Tracker,
    bench: "Bench",
    paths: Mapping[str, Path],
    openings: "Openings | None",
    records: "Records",
    evaluation: Path,
) -> dict[str, float]:
    """Write the evaluation of these records; returns its numbers under dotted names."""
    from refsr.evaluation.batches import seed_draws
    from refsr.evaluation.numbers import classification, numbers_of
    from refsr.evaluation.statistics import flatten
    from refsr.reporting.report import write

    seed_draws(params.seed, "report")  # samples, and the pictures of them
    metrics = numbers_of(params, bench, records) | checkpoint_facts(paths)
    findings = replace(
        _findings(params, bench, records, metrics, paths),
        openings=openings,
        classification=classification(bench, records),
    )
    for name, picture in write(findings, evaluation).items():
        tracker.image(picture, name)
    for name in FILES:
        tracker.artifact(evaluation / name)
    return flatten(metrics)


def opened(
    params: Evaluate, tracker: Tracker, bench: "Bench", checkpoint: Path, shard: str = ""
) -> "Openings | None":
    """Record that the test people are looked at; None for validation people."""
    from refsr.evaluation.openings import record

    if params.split != "test":
        return None
    return record(tracker, bench.curated, bench.models.scale, checkpoint, shard)


def bench_of(params: Evaluate, curated: Path, paths: Mapping[str, Path]) -> "Bench":
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
    records: "Records",
    metrics: dict[str, Any],
    paths: Mapping[str, Path],
) -> "Findings":
    """All that the report is made from; people are chosen by their gain."""
    from refsr.evaluation.conditions import OTHERS
    from refsr.evaluation.statistics import gains
    from refsr.reporting.figures import drawn, strips, transfer_grid
    from refsr.reporting.report import Findings, grid_people, ranked

    ranking = gains(records.measured.table)
    shown = ranked(ranking, params.strips)
    return Findings(
        metrics=metrics,
        table=records.measured.table,
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
