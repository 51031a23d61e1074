"""The results of a validation on one page that loads nothing from elsewhere.

Great Expectations' Data Docs load style and scripts from other hosts, and are blank offline. The
page does not use refsr.reporting: else an edit of a report would run the validation again.
"""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

PAGE = "report.html"
TITLES = {
    "schema": "Columns of the manifest",
    "images": "Images",
    "identities": "Identities",
    "totals": "Counts",
    "pixels": "Pixels of a sample",
}


def render(result: Mapping[str, Any]) -> str:
    """The page of a result.json."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(Path(__file__).with_suffix(".html").read_text("utf-8"))
    rows = result["expectations"]
    tables = {name: list(group) for name, group in groupby(rows, lambda row: row["table"])}
    return template.render(
        success=result["success"],
        count=len(rows),
        broken=[row for row in rows if not row["success"]],
        tables=tables,
        rows=result["rows"],
        titles=TITLES,
    )
