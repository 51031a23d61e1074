"""Raw set -> identity groups."""

from pathlib import Path

from refsr.config import Curate
from refsr.curation.contact_sheet import contact_sheet
from refsr.curation.curated_writer import write_curated, write_part
from refsr.curation.face_models import DETECTOR, embed_faces, usable_cores
from refsr.dataset.anonymous import is_anonymous
from refsr.dataset.curated import Curated
from refsr.layouts.registry import AUTO
from refsr.share import parse_share
from refsr.steps import Raw, ResumableOutput
from refsr.tracker import Tracker


def curate(
    params: Curate,
    tracker: Tracker,
    *,
    raw: Raw,
    curated: ResumableOutput,
    shard: str = "",
    layout: str = AUTO,
) -> dict[str, float]:
    """Read the raw set, leave out unusable images, and write the identity groups.

    Their form: refsr.dataset.curated. With `shard`, I/N, only what the I-th of N parts of the
    identities shows is measured, for `merge` to join. Raises RefsrError where the set or its
    metadata cannot be read, or nothing is left of a split.
    """
    cores = usable_cores()
    if shard:
        share = parse_share(shard)
        return write_part(params, raw, curated, embed_faces, cores, share, DETECTOR, layout)
    summary = write_curated(
        params,
        raw,
        curated,
        embed_faces,
        cores,
        detector=DETECTOR,
        layout=layout,
        keep_work=True,
    )
    record(tracker, curated)
    return summary


def record(tracker: Tracker, curated: Path) -> None:
    """Show the tracker what came of it."""
    tracker.image(contact_sheet(Curated(curated)), "contact_sheet")
    tracker.artifact(curated / "summary.json")
    if not is_anonymous(curated):  # its details name people and files
        tracker.artifact(curated / "rejects.parquet")
