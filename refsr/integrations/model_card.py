"""The model card of a registered version, generated from model_card.md beside this file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from refsr.evaluation.conditions import CONDITIONS, DIFFERENCES
from refsr.evaluation.metrics import METRICS
from refsr.reporting.summary import cell, compared_metrics, summary_metrics

TEMPLATE = Path(__file__).with_suffix(".md")


def model_card(facts: Mapping[str, Any]) -> str:
    """The model card as Markdown.

    `facts` are the names the template uses; one that is missing is an error, not a gap.
    """
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Markdown, not HTML
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    metrics = facts["metrics"]
    return template.render(
        facts,
        conditions={name: CONDITIONS[name].title for name in metrics["psnr"]},
        differences={name: CONDITIONS[DIFFERENCES[name]].title for name in metrics["difference"]},
        columns={key: METRICS[key] for key in summary_metrics(metrics)},
        compared={key: METRICS[key] for key in compared_metrics(metrics)},
        cell=cell,
    )
