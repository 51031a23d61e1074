"""Stage `evaluate`: both models on people neither has seen, and the report of it."""

from refsr.config import Evaluate
from refsr.steps import Input, Output
from refsr.tracker import Tracker


def evaluate(
    params: Evaluate, tracker: Tracker, *, curated: Input, sisr: Input, refsr: Input, evaluation: Output
) -> dict[str, float]:
    """Measure every arm of the protocol on the test split of `curated`; `sisr` and `refsr` hold a model.safetensors.

    Leaves in `evaluation`: metrics.json, images.parquet, table.txt, strips.png, report.html and plots/. Returns the
    numbers of metrics.json under dotted names. Raises RefsrError where the models do not fit the images.
    """
    import torch

    from refsr.data.curated import Curated
    from refsr.evaluation.figures import strips, transfer_grid
    from refsr.evaluation.protocol import load_models, measure, pairs
    from refsr.evaluation.report import Findings, grid_people, ranked, write
    from refsr.evaluation.statistics import flatten, gains, summarise

    torch.manual_seed(params.seed)  # a variant may draw samples
    faces = Curated(curated)
    models = load_models(sisr / "model.safetensors", refsr / "model.safetensors", faces.hr_size)
    test = pairs(faces.table, params.seed)
    table, identity_scale = measure(faces, models, test, params.batch_size)
    ranking = gains(table)
    sizes = {"hr_size": faces.hr_size, "lr_size": faces.hr_size // models.scale}
    metrics = summarise(table, params.bootstrap, params.seed) | {
        "identity_scale": identity_scale,
        "data": {"identities": len(ranking), "images": len(test), **sizes},
    }
    findings = Findings(
        metrics=metrics,
        table=table,
        gains=ranking,
        strips={name: strips(faces, models, test, who) for name, who in ranked(ranking, params.strips).items()},
        grid=transfer_grid(faces, models, test, grid_people(ranking, params.grid)),
        histories={"SISR": sisr / "history.csv", "RefSR": refsr / "history.csv"},
        summary=curated / "summary.json",
    )
    tracker.image(write(findings, evaluation), "strips")
    for name in ("report.html", "table.txt", "metrics.json", "strips.png"):
        tracker.artifact(evaluation / name)
    return flatten(metrics)
