"""What stands under the pictures of a page: the metrics of each output."""

from collections.abc import Iterable

import pandas as pd

from refsr.evaluation.metrics import METRICS
from refsr.reporting.figures import Strip


def scores(
    table: pd.DataFrame, strips: Iterable[Strip], metrics: Iterable[str]
) -> dict[tuple[str, str], str]:
    """(source, condition) -> these metrics, for the images of the strips."""
    shown = {strip.source for strip in strips}
    rows = table[table["source"].isin(shown)]
    digits = {key: min(3, METRICS[key].digits) for key in metrics}
    return {
        (row["source"], row["arm"]): " · ".join(
            format(row[key], f".{count}f") for key, count in digits.items()
        )
        for row in rows.to_dict("records")
    }
