"""The model card of a registered version, generated from model_card.md beside this file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

TEMPLATE = Path(__file__).with_suffix(".md")
ARMS = {
    "bicubic": "bicubic",
    "sisr": "SISR, no reference",
    "ref_none": "RefSR without reference",
    "ref_wrong": "RefSR, wrong reference",
    "ref_right": "RefSR, right reference",
}
OTHERS = {"bicubic": "bicubic", "sisr": "SISR", "none": "no reference", "wrong": "wrong reference"}


def model_card(facts: Mapping[str, Any]) -> str:
    """Markdown. `facts` are the names the template uses; one that is missing is an error, not a gap."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Markdown, not HTML
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(facts, arms=ARMS, others=OTHERS, interval=interval)


def interval(value: Mapping[str, float]) -> str:
    """{"mean", "low", "high"} -> "25.117 [24.900, 25.300]"."""
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
