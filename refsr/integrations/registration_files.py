"""The files that a registration leaves: its record, the model card, the report and pictures."""

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from refsr.integrations.model_card import PICTURES, model_card
from refsr.integrations.versions import CARD
from refsr.reporting.page import with_facts

RECORD, REPORT = "registered.json", "report.html"


def write(
    folder: Path,
    evaluation: Path,
    facts: Mapping[str, Any],
    aliases: Mapping[str, str],
    created: datetime,
) -> None:
    """Write all files of a version into a new folder.

    Args:
        folder: Is made.
        evaluation: The folder of its evaluation; what it lacks of report and pictures is left out.
        facts: Those of the model card.
        aliases: Alias -> version.
        created: When the version was registered.
    """
    folder.mkdir()
    named = {key: facts[key] for key in ("name", "version", "lineage")}
    record = named | {"aliases": dict(aliases), "verdict": facts["verdict"].to_dict()}
    ordered = {key: record[key] for key in ("name", "version", "aliases", "lineage", "verdict")}
    text = json.dumps(ordered, indent=2) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(model_card(facts), encoding="utf-8")
    for name in PICTURES:
        if (evaluation / name).is_file():
            shutil.copyfile(evaluation / name, folder / name)
    if (evaluation / REPORT).is_file():
        page = (evaluation / REPORT).read_text(encoding="utf-8")
        shown = with_facts(page, _shown(facts, created))
        (folder / REPORT).write_text(shown, encoding="utf-8")


def _shown(facts: Mapping[str, Any], created: datetime) -> dict[str, str]:
    """What the report says of its version."""
    lineage, verdict = facts["lineage"], facts["verdict"]
    result = "passed" if verdict.passed else "failed"
    return {
        "version": f"{facts['version']} of {facts['name']}",
        "registered": f"{created:%Y-%m-%d %H:%M} UTC",
        "quality gate": f"{result}; champion: {verdict.champion}",
        "commit": lineage["git"],
        "data": lineage["data"],
    }
