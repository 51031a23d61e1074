"""How often the test people of a data revision were looked at, and by which models.

The more models are measured on them, the less the best of the numbers means.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from refsr.dataset.curated import Curated
from refsr.tracker import Tracker

CHUNK = 1024  # images hashed at a time
TEST_SET, MODEL = "opened.test_set", "opened.model"  # tags of a run
_SHOWN = 12  # digits of a checksum


class Openings(NamedTuple):
    """How often test people were opened, this time included: by model, in all."""

    by_model: dict[str, int]  # the first digits of a checkpoint's SHA-256 -> times
    present: str  # the model that opens them now

    @property
    def times(self) -> int:
        """By all models together."""
        return sum(self.by_model.values())

    @property
    def sentence(self) -> str:
        """For a report."""
        models = len(self.by_model)
        by = f"{models} models" if models > 1 else "this model only"
        times = f"{self.times} times" if self.times > 1 else "once"
        each = ", ".join(f"{model} ({count})" for model, count in self.by_model.items())
        return (
            f"The test people of this data revision were opened {times}, by {by}: {each}; "
            f"this is {self.present}."
        )


def record(tracker: Tracker, faces: Curated, scale: int, checkpoint: Path) -> Openings:
    """Record in the tracked run that a model sees the test people of `faces`.

    Returns:
        This time and all earlier ones that the tracking store knows.
    """
    model = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    test_set = held_out_hash(faces, scale)
    earlier = tracker.others({TEST_SET: test_set})
    tracker.tags({TEST_SET: test_set, MODEL: model})
    models = [*(tags.get(MODEL, "unknown")[:_SHOWN] for tags in earlier), model[:_SHOWN]]
    openings = Openings(dict(Counter(models)), model[:_SHOWN])
    tracker.metrics({"opened.times": openings.times, "opened.models": len(openings.by_model)})
    return openings


def held_out_hash(faces: Curated, scale: int) -> str:
    """A sha256 of all that a score depends on beside the model.

    That is: the test images and references, whose they are, and the scale. It is made from pixels,
    so it also holds where DVC keeps no hash (on a cluster), and two sets that differ in training
    images only are still comparable.
    """
    rows = faces.split("test")
    digest = hashlib.sha256(f"{scale}\n".encode())
    digest.update(faces.table.iloc[rows][["identity", "role"]].to_csv(index=False).encode())
    for start in range(0, len(rows), CHUNK):
        digest.update(faces.pixels(rows[start : start + CHUNK]).tobytes())
    return digest.hexdigest()
