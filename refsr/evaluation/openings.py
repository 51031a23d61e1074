"""How often the test people of a data revision were looked at, and by which models.

The more models are measured on them, the less the best of the numbers means.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from refsr.dataset.curated import Curated
from refsr.io.files import file_hash
from refsr.tracker import Tracker

CHUNK = 1024  # images hashed at a time
TEST_SET, MODEL, SHARD = "opened.test_set", "opened.model", "opened.shard"  # tags of a run
_SHOWN = 12  # digits of a checksum


class Openings(NamedTuple):
    """Who opened test people, the present model included.

    A model that opens them again, as after a kill, measures the same and learns nothing new. So
    how often each did is in the tracking store alone, and a report is the same each time.
    """

    models: list[str]  # the first digits of each checkpoint's SHA-256, in order
    present: str  # the model that opens them now

    @property
    def sentence(self) -> str:
        """For a report."""
        by = f"this model only: {self.present}"
        if len(self.models) > 1:
            by = f"{len(self.models)} models: {', '.join(self.models)}; this is {self.present}"
        return f"The test people of this data revision were opened by {by}."


def record(
    tracker: Tracker, faces: Curated, scale: int, checkpoint: Path, shard: str = ""
) -> Openings:
    """Record in the tracked run that a model sees the test people of `faces`, or a `shard` of them.

    A shard opens the people, but the evaluation that joins the shards counts for all of them.

    Returns:
        The models of this time and of all earlier ones that the tracking store knows.
    """
    model = file_hash(checkpoint)
    test_set = held_out_hash(faces, scale)
    earlier = tracker.others({TEST_SET: test_set})
    tracker.tags({TEST_SET: test_set, MODEL: model} | ({SHARD: shard} if shard else {}))
    times = sum(SHARD not in tags for tags in earlier) + (not shard)
    all_models = [*(tags.get(MODEL, "unknown")[:_SHOWN] for tags in earlier), model[:_SHOWN]]
    models = list(dict.fromkeys(all_models))
    tracker.metrics({"opened.times": times, "opened.models": len(models)})
    return Openings(models, model[:_SHOWN])


def held_out_hash(faces: Curated, scale: int, split: str = "test") -> str:
    """A sha256 of all that a score depends on beside the model.

    That is: the test images and references, whose they are, and the scale. It is made from pixels,
    so it also holds where DVC keeps no hash (on a cluster), and two sets that differ in training
    images only are still comparable.
    """
    rows = faces.split(split)
    digest = hashlib.sha256(f"{scale}\n".encode())
    digest.update(faces.table.iloc[rows][["identity", "role"]].to_csv(index=False).encode())
    for start in range(0, len(rows), CHUNK):
        digest.update(faces.pixels(rows[start : start + CHUNK]).tobytes())
    return digest.hexdigest()
