"""Step `drift`: the service's logs and a curated set -> whether faces look as in training."""

import json
from collections.abc import Sequence
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference import request_log
from refsr.integrations.versioning import data_revision
from refsr.reporting import drift as report
from refsr.side_config import Drift
from refsr.steps import Input, Output
from refsr.tracker import Tracker

PAGE, RESULT = "report.html", "result.json"


class DriftedError(RefsrError):
    """The faces look different from training."""


def drift(
    params: Drift,
    tracker: Tracker,
    *,
    refsr: Input,
    curated: Input,
    logs: Input,
    drift: Output,
) -> dict[str, float]:
    """Compare the faces of `logs`, a file or a folder, with validation people of `curated`.

    `refsr` is the checkpoint that is served, or its folder: it says how small faces are. Writes
    report.html and result.json, which also become artifacts of the run.

    Raises:
        DriftedError: There is drift, and `params.fail` is set; the page is in the run.
    """
    examined = examine(refsr, curated, [logs])
    drift.mkdir()
    (drift / PAGE).write_text(report.render(examined), encoding="utf-8")
    (drift / RESULT).write_text(json.dumps(report.facts(examined), indent=2), encoding="utf-8")
    for name in (PAGE, RESULT):
        tracker.artifact(drift / name)
    tracker.tags({"drift": examined.verdict})
    if params.fail and examined.verdict == "drift":
        raise DriftedError(f"drift: {summary(examined)}")
    return report.metrics(examined)


def examine(
    model: Path, curated: Path, logs: Sequence[Path], revision: str = ""
) -> report.Examined:
    """Read all three and compare.

    Args:
        model: A checkpoint, its folder, or an ONNX file.
        curated: The curated set.
        logs: Files, folders, or `-` for stdin.
        revision: What the data are called; empty: what DVC knows of the folder.

    Raises:
        RefsrError: One of them is not what it should be, or there are too few requests.
    """
    from refsr.dataset.curated import Curated
    from refsr.io import marker

    log = request_log.read(logs)
    request_log.require_statistics(log)  # before the faces are measured
    marker.require_whole(curated)
    (lr_size, hr_size), faces = _sizes(model), Curated(curated)
    if hr_size != faces.hr_size:
        raise RefsrError(
            f"{curated}: its faces have {faces.hr_size} pixels, the model was trained on "
            f"{hr_size}; name the curated set that it was trained on"
        )
    known = report.trained(faces, hr_size // lr_size, revision or data_revision(curated))
    return report.examine(known, log)


def _sizes(model: Path) -> tuple[int, int]:
    """The sides of LR and HR of a checkpoint, its folder, or an ONNX file."""
    from refsr.inference import fitting, onnx_upscaler
    from refsr.io import marker
    from refsr.models.checkpoint import read_header
    from refsr.steps.evaluate import checkpoint

    if model.suffix.lower() == onnx_upscaler.SUFFIX:
        served = onnx_upscaler.load(model)
        return served.lr_size, served.hr_size
    file = checkpoint(model)
    marker.require_whole(file)
    return fitting.sizes(read_header(file)[0])


def summary(examined: report.Examined) -> str:
    """The statistics that drifted, in a sentence."""
    names = [name for name, each in examined.shifts.items() if each.verdict == "drift"]
    return f"{', '.join(names)}: {report.SENTENCES['drift']}"
