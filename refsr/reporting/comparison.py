"""The page and the table of a comparison of two models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from refsr.evaluation import comparison
from refsr.evaluation.comparison import KINDS, NAMES, TITLES, sentence, verdict
from refsr.evaluation.metrics import METRICS
from refsr.evaluation.protocol import Bench
from refsr.reporting import page
from refsr.reporting.captions import scores
from refsr.reporting.charts import forest, ranking
from refsr.reporting.figures import Strip, strips
from refsr.reporting.report import ranked
from refsr.reporting.summary import about, cell, meaning
from refsr.reporting.terminal import aligned

GROUPS = {"best": "B gains most", "median": "In the middle", "worst": "B loses most"}


@dataclass(frozen=True)
class Compared:
    """All that the page is made from."""

    models: dict[str, dict[str, str]]  # "A" and "B" -> what is known of each
    result: dict[str, Any]  # of comparison.summary, with "data" and "identity_scale"
    table: pd.DataFrame  # a row per image and condition
    strips: dict[str, list[Strip]]  # "best", "median" and "worst"
    notes: list[str]  # what else must be known


def chosen_strips(bench: Bench, table: pd.DataFrame, count: int) -> dict[str, list[Strip]]:
    """People ranked by what B changes in identity with the right reference."""
    change = comparison.differences(table)["right", "identity"].sort_values(kind="stable")
    names = comparison.conditions()
    return {group: strips(bench, people, names) for group, people in ranked(change, count).items()}


def table_text(compared: Compared) -> str:
    """The paired differences as lines of a terminal, and what they say."""
    result = compared.result
    metrics = comparison.metrics()
    rows = [["B minus A", *(METRICS[key].short_title for key in metrics)]]
    for kind, row in result["difference"].items():
        rows.append([TITLES[kind], *(_cell(row[key], key) for key in metrics)])
    models = [f"{name}: {_named(facts)}" for name, facts in compared.models.items()]
    sentences = [sentence(result, kind) for kind in TITLES]
    notes = [f"note: {note}" for note in compared.notes]
    return "\n".join([about(result), *models, "", aligned(rows), "", *sentences, *notes]) + "\n"


def _named(facts: Mapping[str, str]) -> str:
    more = [f"{key} {text}" for key, text in facts.items() if key != "model"]
    return ", ".join([facts["model"], *more])


def _cell(interval: Mapping[str, float], metric: str) -> str:
    mark = "" if verdict(interval, metric) else "  holds zero"
    return cell(interval, METRICS[metric].digits, "+") + mark


def render(compared: Compared) -> str:
    """The page, its images inside it."""
    result, metrics = compared.result, comparison.metrics()
    changes = comparison.differences(compared.table)
    flat = [strip for group in compared.strips.values() for strip in group]
    right = {key: changes["right", key] for key in metrics}
    return page.render(
        "comparison.html",
        models=compared.models,
        notes=compared.notes,
        about=about(result),
        result=result,
        columns={key: METRICS[key] for key in metrics},
        titles=TITLES,
        kinds=KINDS,
        names=NAMES,
        verdicts={
            (kind, key): verdict(row[key], key)
            for kind, row in result["difference"].items()
            for key in metrics
        },
        sentences=[sentence(result, kind) for kind in TITLES],
        meaning=_meaning(result),
        charts={key: _chart(result, key) for key in metrics},
        rankings={key: ranking(values.tolist()) for key, values in right.items()},
        better_for={key: _better(values, key) for key, values in right.items()},
        people=result["data"]["identities"],
        strips=compared.strips,
        groups=GROUPS,
        scores=scores(compared.table, flat, ("psnr", "identity")),
        changes=right["identity"],
    )


def _chart(result: Mapping[str, Any], key: str) -> dict[str, Any]:
    rows = {kind: row[key] for kind, row in result["difference"].items()}
    return forest(rows, [0.0], sign=True)


def _meaning(result: Mapping[str, Any]) -> str:
    """What the difference of identity means, where one is shown."""
    difference = result["difference"]["right"]["identity"]
    is_shown = verdict(difference, "identity") in NAMES
    return meaning(result, difference) if is_shown else ""


def _better(changes: pd.Series, metric: str) -> int:
    """For how many people B is better."""
    return int((changes > 0 if METRICS[metric].higher_is_better else changes < 0).sum())
