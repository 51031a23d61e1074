"""Parts of a curation -> identity groups.

They are the same to the byte as if `curate` had done all of it.
"""

from refsr.config import Curate
from refsr.curation.curated_writer import write_curated
from refsr.curation.face_models import DETECTOR, embed_faces, usable_cores
from refsr.layouts.registry import AUTO
from refsr.steps import Inputs, Raw, ResumableOutput
from refsr.steps.curate import record
from refsr.tracker import Tracker


def merge(
    params: Curate,
    tracker: Tracker,
    *,
    raw: Raw,
    parts: Inputs,
    curated: ResumableOutput,
    layout: str = AUTO,
) -> dict[str, float]:
    """Join what `curate --shard` measured, in any order; what no part holds is measured now.

    Raises RefsrError naming a part of another raw set, of other parameters or of another number of
    parts.
    """
    summary = write_curated(
        params,
        raw,
        curated,
        embed_faces,
        usable_cores(),
        parts,
        DETECTOR,
        layout=layout,
        keep_work=True,
    )
    record(tracker, curated)
    return summary
