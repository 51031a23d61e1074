"""The texts of a registered version: its model card, and its description in MLflow's UI.

They are generated from model_card.md and description.md beside this file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, StrictUndefined

from refsr.evaluation.conditions import CONDITIONS, DIFFERENCES
from refsr.evaluation.metrics import METRICS
from refsr.integrations.mlflow_store import MODEL_PAGES
from refsr.integrations.version_facts import gain_of
from refsr.reporting.summary import cell, compared_metrics, summary_metrics

TEMPLATE = Path(__file__).with_suffix(".md")
MOST_DESCRIBED = 5000  # characters that MLflow's column of descriptions holds
_LINKS = {"model_card.md": "model card", "report.html": "report", "registered.json": "verdict"}
PICTURES = {
    "strips.png": "People in the middle of the ranking",
    "transfer_grid.png": "Identity transfer",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """The model card as Markdown.

    `facts` are the names the template uses; one that is missing is an error, not a gap.
    """
    return _rendered(TEMPLATE, facts)


def description(facts: Mapping[str, Any], run: Any, folder: str, files: Iterable[str]) -> str:
    """The card in short, as MLflow's page of a version shows it.

    Args:
        facts: Those of `model_card`.
        run: The MLflow run of the version.
        folder: The folder of its artifacts that `files` are in.
        files: Their names. Those of the card, the report and pictures are linked and shown.
    """
    info, names = run.info, set(files)
    page = f"#/experiments/{info.experiment_id}/runs/{info.run_id}/artifacts/{folder}"

    def picture(file: str) -> str:
        # The address that MLflow's own pages load artifacts from.
        query = {"path": f"{folder}/{file}", "run_uuid": info.run_id}
        return f"get-artifact?{urlencode(query)}"

    text = _rendered(
        TEMPLATE.with_name("description.md"),
        {
            **facts,
            "gain": _gain(facts["metrics"]),
            "links": {title: file for file, title in _LINKS.items() if file in names},
            "pictures": {title: file for file, title in PICTURES.items() if file in names},
            "address": lambda file: f"{page}/{file}{MODEL_PAGES}",
            "picture": picture,
        },
    )
    return text[:MOST_DESCRIBED]


def _gain(metrics: Mapping[str, Any]) -> str:
    """The gain in words: of each compared metric, with its unit."""
    parts = [
        f"{METRICS[key].short_title} by {cell(interval, METRICS[key].digits, '+')}"
        for key, interval in gain_of(metrics).items()
    ]
    return " and ".join(parts)


def _rendered(template: Path, facts: Mapping[str, Any]) -> str:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Markdown, not HTML
    metrics = facts["metrics"]
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        facts,
        conditions={name: CONDITIONS[name].title for name in metrics["psnr"]},
        differences={name: CONDITIONS[DIFFERENCES[name]].title for name in metrics["difference"]},
        columns={key: METRICS[key] for key in summary_metrics(metrics)},
        compared={key: METRICS[key] for key in compared_metrics(metrics)},
        cell=cell,
    )
