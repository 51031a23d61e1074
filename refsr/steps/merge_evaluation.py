"""Shards of an evaluation -> the evaluation.

Its numbers and pictures are the same as if `evaluate` had measured all of it.
"""

from refsr.config import Evaluate
from refsr.errors import RefsrError
from refsr.steps import Input, Inputs, OptionalInput, Output
from refsr.steps.evaluate import bench_of, checkpoints, opened, report
from refsr.tracker import Tracker


def merge_evaluation(
    params: Evaluate,
    tracker: Tracker,
    *,
    curated: Input,
    refsr: Input,
    parts: Inputs,
    evaluation: Output,
    sisr: OptionalInput = None,
) -> dict[str, float]:
    """Join what `evaluate --shard` measured, in any order.

    Raises RefsrError naming a shard that is missing, or is of other images, checkpoints, parameters
    or of another number of shards.
    """
    from refsr.evaluation import shards

    paths = checkpoints(params, refsr, sisr)
    bench = bench_of(params, curated, paths)
    records = shards.read(parts, shards.facts_of(bench, params, paths))
    if records.sources != bench.test["source"].tolist():
        raise RefsrError(
            f"{curated}: its images are not those of the shards; evaluate them again on this set"
        )
    openings = opened(params, tracker, bench, paths["refsr"])
    return report(params, tracker, bench, paths, openings, records, evaluation)
