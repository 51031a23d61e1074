"""What must hold for a curated set is checked before anything is trained on it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from refsr.config import Validate
from refsr.curation.checks import tables
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.integrations.expectations import Outcome, check, suites
from refsr.integrations.validation_page import PAGE, render
from refsr.steps import Input, Output
from refsr.tracker import Tracker

RESULT = "result.json"
SHOWN = 3  # rows of a breach that are listed


def validate(
    params: Validate,
    tracker: Tracker,
    *,
    curated: Input,
    validation: Output,
) -> dict[str, float]:
    """Check the curated set against its expectations; result.json,
    report.html and data_docs/ list each.

    Raises RefsrError with each expectation in breach, how many rows are, and some of them; the
    documents are written all the same.
    """
    frames = tables(Curated(curated), params.sample, params.seed)
    outcomes = check(frames, suites(params, frames["schema"].columns), validation / "data_docs")
    _write_result(validation, outcomes, frames)
    tracker.artifact(validation)
    broken = [outcome for outcome in outcomes if not outcome.success]
    if broken:
        breaches = "\n".join(f"- {_describe(outcome, frames[outcome.table])}" for outcome in broken)
        raise RefsrError(
            f"{curated}: {len(broken)} of {len(outcomes)} expectations do not hold:\n{breaches}\n"
            f"all results: {validation / RESULT} and {validation / PAGE}; "
            "correct the raw set or the parameters and curate again"
        )
    return {
        "expectations": float(len(outcomes)),
        **{f"rows.{name}": float(len(frame)) for name, frame in frames.items()},
    }


def _write_result(folder: Path, outcomes: list[Outcome], frames: dict[str, pd.DataFrame]) -> None:
    document = {
        "success": all(outcome.success for outcome in outcomes),
        "rows": {name: len(frame) for name, frame in frames.items()},
        "expectations": [_entry(outcome, frames[outcome.table]) for outcome in outcomes],
    }
    (folder / RESULT).write_text(json.dumps(document, indent=2) + "\n")
    (folder / PAGE).write_text(render(document), encoding="utf-8")


def _entry(outcome: Outcome, frame: pd.DataFrame) -> dict[str, Any]:
    """An expectation as result.json has it; with some of the rows that break it."""
    examples = {"examples": list(_examples(outcome, frame))} if outcome.rows else {}
    return outcome._asdict() | examples


def _describe(outcome: Outcome, frame: pd.DataFrame) -> str:
    """`images: expect_column_values_to_be_unique(source): 2 rows: ...`."""
    text = f"{outcome.table}: {outcome.expectation}, i.e. {outcome.meaning}: "
    if not outcome.rows:
        return text + outcome.observed
    rows = "; ".join(_examples(outcome, frame))
    return f"{text}{outcome.unexpected} rows: {rows}{' ...' if outcome.unexpected > SHOWN else ''}"


def _examples(outcome: Outcome, frame: pd.DataFrame) -> Iterator[str]:
    """The first rows in breach: which each is, and the values that are wrong."""
    key = next(
        column for column in ("source", "identity", frame.columns[0]) if column in frame.columns
    )
    columns = dict.fromkeys([key, *outcome.expectation.partition("(")[2].rstrip(")").split(", ")])
    for row in outcome.rows[:SHOWN]:
        values = {str(c): frame.iloc[row][c] for c in columns if c in frame.columns}
        yield ", ".join(f"{c} {value!s}" for c, value in values.items())
