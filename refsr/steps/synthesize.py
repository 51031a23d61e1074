"""Stage `synthesize`: render the embedded raw set."""

import time

from refsr.config import Synthesize
from refsr.steps import Output
from refsr.synthetic.dataset import contact_sheet, write_raw
from refsr.tracker import Tracker


def synthesize(params: Synthesize, tracker: Tracker, *, raw: Output) -> dict[str, float]:
    """Render faces in VGGFace2's layout, with planted defects, into `raw`."""
    started = time.perf_counter()
    folders = write_raw(params, raw)
    seconds = time.perf_counter() - started
    images = sum(len(folder.shots) for folder in folders)
    tracker.image(contact_sheet(raw, folders), "rendered_faces")
    return {
        "identities": len(folders),
        "images": images,
        "images_per_second": images / seconds,
    }
