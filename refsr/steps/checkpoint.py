"""Step `checkpoint`: a registered version -> the folder of its checkpoint.

The folder is as a training leaves it.
"""

import shutil

from refsr.integrations.registry import CHECKPOINT, checkpoint_of
from refsr.integrations.tracking import MlflowTracker
from refsr.io.files import file_hash
from refsr.side_config import Checkpoint
from refsr.steps import Output
from refsr.tracker import Tracker


def checkpoint(params: Checkpoint, tracker: Tracker, *, refsr: Output) -> dict[str, float]:
    """Leave model.safetensors of `params.model` in `refsr`; its hash becomes the run's tag `model`.

    Raises RefsrError where the registry has no such version.
    """
    if not isinstance(tracker, MlflowTracker):
        raise TypeError(
            "the registry belongs to a store: checkpoint needs the tracker of "
            "refsr.integrations.tracking"
        )
    refsr.mkdir()
    with checkpoint_of(tracker.uri, params.model) as path:
        shutil.copyfile(path, refsr / CHECKPOINT)
    tracker.tags({"model": params.model, "model.sha256": file_hash(refsr / CHECKPOINT)})
    return {"bytes": float((refsr / CHECKPOINT).stat().st_size)}
