"""metrics.json: every number of an evaluation, from what was measured image by image."""

from typing import Any

from refsr.config import Evaluate
from refsr.evaluation import gap, kid, recognition, robustness, samples, slices, statistics
from refsr.evaluation.compatibility import compatibility, confusion
from refsr.evaluation.conditions import RIGHT
from refsr.evaluation.protocol import Bench, Measured
from refsr.evaluation.records import Records


def numbers_of(params: Evaluate, bench: Bench, records: Records) -> dict[str, Any]:
    """All numbers. Only the kernel distance and the samples read images, a fixed number of them."""
    measured = records.measured
    table, test, seed = measured.table, bench.test, params.seed
    resamples = params.bootstrap
    reference, title = bench.true_images(params.kid_images, seed)
    drawn = samples.diversity(
        bench.curated, bench.models, test, params.samples, params.batch_size,
        bench.scorer.embed, resamples, seed,
    )  # fmt: skip
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
    optional = {
        "robustness": robustness.robustness(records.degraded, resamples, seed),
        "samples": drawn,
        "latent": samples.active_units(records.latents),
        "compatibility": compatibility(records.ratings, table, resamples, seed),
    }
    numbers |= {name: each for name, each in optional.items() if each}
    groups = slices.groups(bench.curated, test)
    numbers["slices"] = slices.by_slice(table, groups, resamples, seed)
    numbers["identity_scale"] = bench.identity_scale(measured.identity["hr"])
    numbers["data"] = data_of(params, bench)
    return numbers


def classification(bench: Bench, records: Records) -> dict[str, Any]:
    """{roc, confusion}: the curve of verification with the right reference, and references rated.

    `confusion` is absent where the model does not rate references.
    """
    curve = recognition.roc(
        records.measured.identity[RIGHT],
        bench.test["person"].to_numpy(),
        bench.known.cpu().numpy(),
        bench.references["person"].to_numpy(),
    )
    rated = {} if records.ratings.empty else {"confusion": confusion(records.ratings)}
    return {"roc": curve} | rated


def _verification(
    bench: Bench,
    measured: Measured,
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The true images and the outputs of the main conditions as probes, and the thresholds."""
    main = statistics.main_conditions(measured.table)
    return recognition.verify(
        {name: measured.identity[name] for name in ("hr", *main)},
        bench.test["person"].to_numpy(),
        bench.known.cpu().numpy(),
        bench.references["person"].to_numpy(),
        resamples,
        seed,
    )


def data_of(params: Evaluate, bench: Bench) -> dict[str, Any]:
    """Whose images were measured, and how large they are."""
    size = bench.curated.hr_size
    return {
        "split": params.split,
        "identities": bench.test["person"].nunique(),
        "images": len(bench.test),
        "hr_size": size,
        "lr_size": size // bench.models.scale,
    }
