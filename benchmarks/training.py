"""How quick a training step is here, by network, precision and where the images come from.

The networks, their batch and their loss are those of the params file; the images are coloured
clouds in the size it names, drawn from shards as a training draws them. What counts are ratios,
measured side by side:

| ratio | what it is |
|---|---|
| bfloat16_speedup | steps per second in bfloat16 over float32, by network |
| share_of_reading | of a step, what is lost by drawing images, not taking the last ones again |
| jpeg_share_of_reading | the same where they lie on disk as JPEGs |

    python benchmarks/training.py --params params/vggface2.yaml
    python benchmarks/training.py --params params.yaml --seconds 20       # a CPU

The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from refsr.config import Curate, Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import place, write_shards
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.io.paths import path_option
from refsr.models import build, reference_config
from refsr.params import load_section
from refsr.training.fit import pairs_for
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs

IDENTITIES, VIEWS = 64, 16
WARM_UP = 5  # steps in which libraries choose their ways
Row = dict[str, float]


def main() -> None:
    """Measure each network, print a line for each, then one JSON object."""
    options = parse_options()
    size = cast(Curate, load_section(options.params, "curate")).hr_size
    with tempfile.TemporaryDirectory(prefix="refsr-training-") as folder:
        faces = {kind: clouds(Path(folder) / kind, size, kind) for kind in ("raw", "jpeg")}
        results = {
            f"{stage}_{precision}": measure(options, stage, precision, faces)
            for stage in ("train_sisr", "train_refsr")
            for precision in ("float32", "bfloat16")
        }
    print(json.dumps({"device": _device(), "hr_size": size} | ratios(results)))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=path_option, default=Path("params.yaml"))
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of each measurement (default: 4)"
    )
    parser.add_argument("--batch-size", type=int, help="another than the params file names")
    return parser.parse_args()


def clouds(folder: Path, size: int, kind: str) -> Curated:
    """A curated set of clouds for training, its pixels written as `kind` of shards."""
    folder.mkdir()
    total = IDENTITIES * VIEWS
    rng = np.random.default_rng(0)
    drops = (rng.integers(0, 256, (size // 4, size // 4, 3), np.uint8) for _ in range(total))
    images = (cv2.resize(some, (size, size), interpolation=cv2.INTER_CUBIC) for some in drops)
    write_shards(folder, images, total, size, 4096, kind)
    shard, index = place(total, 4096)
    identity = [f"n{row // VIEWS:06d}" for row in range(total)]
    columns = {"identity": identity, "split": "train", "role": "image"}
    table = pd.DataFrame(columns | {"shard": shard, "index": index})
    table[list(CROP_LANDMARKS)] = size * rng.uniform(0.2, 0.8, (total, len(CROP_LANDMARKS)))
    table.to_parquet(folder / "manifest.parquet")
    return Curated(folder)


def measure(
    options: argparse.Namespace, stage: str, precision: str, faces: dict[str, Curated]
) -> Row:
    """Milliseconds of a step, with the same images or drawn ones, and its memory; printed too."""
    params = _training(options, stage, precision)
    network = build(_network(options.params, faces["raw"].hr_size, stage))
    learner = Learner(network, params, Objective(params.loss, 1))
    drawn = {kind: batches(network, curated, params) for kind, curated in faces.items()}
    again = drawn["raw"].batch(0, learner.device)
    sources: dict[str, Callable[[int], Batch]] = {
        "same": lambda _: again,
        "raw": lambda step: drawn["raw"].batch(step, learner.device),
        "jpeg": lambda step: drawn["jpeg"].batch(step, learner.device),
    }
    row = {f"{name}_ms": step_ms(learner, draw, options.seconds) for name, draw in sources.items()}
    row |= {"images_per_second": params.batch_size * 1000 / row["raw_ms"], "memory_gb": _peak_gb()}
    rounded = {key: round(value, 2) for key, value in row.items()}
    print(stage, precision, params.batch_size, rounded, flush=True)
    return row


def _training(options: argparse.Namespace, stage: str, precision: str) -> Training:
    params = cast(Training, load_section(options.params, stage))
    changes: dict[str, object] = {"precision": precision}
    if options.batch_size:
        changes["batch_size"] = options.batch_size
    return params.model_copy(update=changes)


def _network(path: Path, size: int, stage: str) -> dict[str, object]:
    sisr = cast(TrainSisr, load_section(path, "train_sisr"))
    config = {
        "model": "sisr",
        "variant": sisr.variant,
        "hr_size": size,
        "scale": sisr.scale,
    } | sisr.model
    if stage == "train_sisr":
        return config
    return (
        reference_config(build(config).config) | cast(TrainRefsr, load_section(path, stage)).model
    )


def batches(model: nn.Module, faces: Curated, params: Training) -> Pairs:
    """Single images, or pairs each of which has a reference, so that all steps are alike."""
    always = {"no_reference": 0.0} if isinstance(params, TrainRefsr) else {}
    return pairs_for(model, faces, params.model_copy(update=always))


def step_ms(learner: Learner, draw: Callable[[int], Batch], seconds: float) -> float:
    """Milliseconds of a step, drawing included, over so many seconds."""
    for step in range(WARM_UP):
        learner.train_step(draw(step))
    _wait()
    start = time.perf_counter()
    for steps in count(1):
        learner.train_step(draw(steps))
        if steps % 10 == 0 or steps < 10:
            _wait()
        if time.perf_counter() - start > seconds:
            break
    _wait()
    return 1000 * (time.perf_counter() - start) / steps


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_gb() -> float:
    if not torch.cuda.is_available():
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def _device() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def ratios(results: dict[str, Row]) -> dict[str, float]:
    """What the steps are beside one another."""
    values: dict[str, float] = {}
    for stage in ("train_sisr", "train_refsr"):
        exact, fast = results[f"{stage}_float32"], results[f"{stage}_bfloat16"]
        values[f"bfloat16_speedup_{stage}"] = exact["same_ms"] / fast["same_ms"]
        values[f"share_of_reading_{stage}"] = 1 - fast["same_ms"] / fast["raw_ms"]
        values[f"jpeg_share_of_reading_{stage}"] = 1 - fast["same_ms"] / fast["jpeg_ms"]
        values[f"images_per_second_{stage}"] = fast["images_per_second"]
        values[f"memory_gb_{stage}"] = fast["memory_gb"]
    return {key: round(value, 3) for key, value in values.items()}


if __name__ == "__main__":
    main()
