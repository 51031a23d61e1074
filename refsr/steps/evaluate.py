"""Stage `evaluate`: models on people none has seen, and the report of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr.config import Evaluate
from refsr.steps import Input, OptionalInput, Output
from refsr.tracker import Tracker

if TYPE_CHECKING:
    from refsr.evaluation.protocol import Bench, Measured

FILES = ("report.html", "results.md", "table.txt", "metrics.json")


def evaluate(
    params: Evaluate,
    tracker: Tracker,
    *,
    curated: Input,
    refsr: Input,
    evaluation: Output,
    sisr: OptionalInput = None,
) -> dict[str, float]:
    """Measure every condition of the protocol on the test split of `curated`.

    `sisr` and `refsr` are checkpoints, or folders with a model.safetensors; without `sisr` its
    condition is absent. Writes into `evaluation`: metrics.json, images.parquet, table.txt,
    results.md, report.html, pictures and plots/. Returns the numbers of metrics.json under dotted
    names. Raises RefsrError where the models do not fit the images.
    """
    import torch

    from refsr.dataset.curated import Curated
    from refsr.evaluation.pairing import pairs
    from refsr.evaluation.protocol import Bench, load_models, measure
    from refsr.evaluation.scoring import Scorer
    from refsr.evaluation.statistics import flatten, gains
    from refsr.reporting.figures import drawn, strips, transfer_grid
    from refsr.reporting.report import Findings, grid_people, ranked, write

    torch.manual_seed(params.seed)  # some conditions draw samples
    faces = Curated(curated)
    paths = {"refsr": checkpoint(refsr)} | ({"sisr": checkpoint(sisr)} if sisr else {}) | params.compare
    models = load_models(paths, faces.hr_size)
    bench = Bench(
        faces,
        models,
        Scorer(models.device, params.lpips),
        pairs(faces.table, params.seed),
    )
    measured = measure(bench, params.batch_size)
    metrics = _numbers(params, bench, measured) | checkpoint_facts(paths)
    ranking = gains(measured.table)
    shown = ranked(ranking, params.strips)
    findings = Findings(
        metrics=metrics,
        table=measured.table,
        gains=ranking,
        strips={name: strips(bench, who) for name, who in shown.items()},
        more_strips=strips(bench, shown["median"], others=True),
        samples=drawn(bench, shown["median"]),
        grid=transfer_grid(bench, grid_people(ranking, params.grid)),
        histories={
            title: paths[name].with_name("history.csv")
            for name, title in (("sisr", "SISR"), ("refsr", "RefSR"))
            if name in paths
        },
        summary=curated / "summary.json",
    )
    for name, picture in write(findings, evaluation).items():
        tracker.image(picture, name)
    for name in FILES:
        tracker.artifact(evaluation / name)
    return flatten(metrics)


def checkpoint(path: Path) -> Path:
    """The checkpoint of a model given as a file or as the folder its training left."""
    return path / "model.safetensors" if path.is_dir() else path


def checkpoint_facts(paths: Mapping[str, Path]) -> dict[str, Any]:
    """What the checkpoints say of their training: {steps: {model: step}, loss_networks}.

    `loss_networks` are the names of those in the loss of "refsr", "none", or "unknown" where it
    does not say.
    """
    from refsr.models.checkpoint import read_checkpoint

    facts = {name: read_checkpoint(path)[1] for name, path in paths.items()}
    named = facts["refsr"].get("loss_networks")
    steps = {name: fact["step"] for name, fact in facts.items() if "step" in fact}
    return {
        "steps": steps,
        "loss_networks": "unknown" if named is None else ", ".join(named) or "none",
    }


def _numbers(params: Evaluate, bench: "Bench", measured: "Measured") -> dict[str, Any]:
    """metrics.json: every number of the evaluation."""
    from refsr.evaluation import kid, recognition, samples, slices, statistics

    table, test, seed = measured.table, bench.test, params.seed
    main = statistics.main_conditions(table)
    reference, name = bench.true_images(params.kid_images, seed)
    drawn = samples.diversity(bench.curated, bench.models, test, params.samples, params.batch_size)
    alive = samples.active_units(bench.curated, bench.models, test, params.batch_size)
    sizes = {
        "hr_size": bench.curated.hr_size,
        "lr_size": bench.curated.hr_size // bench.models.scale,
    }
    return {
        **statistics.summarise(table, params.bootstrap, seed),
        **statistics.other_conditions(table, params.bootstrap, seed),
        "break_even": statistics.break_even(table, params.bootstrap, seed),
        "verification": recognition.verify(
            {name: measured.identity[name] for name in ("hr", *main)},
            test["person"].to_numpy(),
            bench.known.cpu().numpy(),
            bench.references["person"].to_numpy(),
            params.bootstrap,
            seed,
        ),
        **({"kid": kid.kernel_distances(measured.texture, reference, name, seed)} if len(reference) > 1 else {}),
        **({"samples": drawn} if drawn else {}),
        **({"latent": alive} if alive else {}),
        "slices": slices.by_slice(table, slices.groups(bench.curated, test), params.bootstrap, seed),
        "identity_scale": bench.identity_scale(measured.identity["hr"]),
        "data": {"identities": test["person"].nunique(), "images": len(test), **sizes},
    }
