"""What the Kubeflow UI shows of an output folder. It shows single files, and curves as metadata."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CURVES = "classification.json"
PART = "One part of an evaluation. The task merge-evaluation has the report of all parts.\n"


def of_evaluation(report: Any, results: Any, verification: Any) -> dict[str, Any]:
    """What an evaluation shows: artifacts by file."""
    return {
        "evaluation/report.html": report,
        "evaluation/results.md": results,
        f"evaluation/{CURVES}": verification,
    }


def show_files(show: Mapping[str, Any], paths: Mapping[str, Any]) -> None:
    """Copy files to artifacts of their own; curves become metadata.

    Args:
        show: artifacts by file of an output, as "evaluation/report.html".
        paths: folders of the outputs, by name.
    """
    for name, page in show.items():
        port, _, file = name.partition("/")
        path = paths[port] / file
        if file == CURVES:
            page.metadata.update(curves(path) if path.exists() else {})
        elif path.exists():
            shutil.copyfile(path, page.path)
        else:
            Path(page.path).write_text(PART, encoding="utf-8")


def curves(path: Path) -> dict[str, Any]:
    """The metadata of kfp.dsl.ClassificationMetrics: a ROC curve, and a confusion matrix if any."""
    document = json.loads(path.read_text(encoding="utf-8"))
    roc = document["roc"]
    points = zip(roc["threshold"], roc["tpr"], roc["fpr"], strict=True)
    names = ("confidenceThreshold", "recall", "falsePositiveRate")
    metadata: dict[str, Any] = {
        "confidenceMetrics": [dict(zip(names, point, strict=True)) for point in points]
    }
    if rated := document.get("confusion"):
        metadata["confusionMatrix"] = {
            "annotationSpecs": [{"displayName": name} for name in rated["categories"]],
            "rows": [{"row": row} for row in rated["matrix"]],
        }
    return metadata
