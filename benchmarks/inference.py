"""How long an image takes, by network and by what runs it, and how long until the first is there.

All networks turn 16x16 pixels into 128x128 with one reference, on one processor, in turns: each
round runs every candidate once, and the median of the rounds counts. Time is the processor's, so
that other programs on the machine disturb little. What counts are ratios.

| candidate | what it is |
|---|---|
| compact | our RefSR by PyTorch |
| compact_onnx | the same, exported (`refsr export`), by ONNX Runtime |
| compact_int8 | the same with convolutions of 8 bits (`--int8`) |
| release | the paper's RefSR, one pass |
| release_protocol | the same as its authors test it: the mean of eight turned and mirrored passes |
| edsr | EDSR-baseline at 8x (benchmarks/edsr.py), which sees no reference |

`ready_s` is the time that a new process takes until it has upscaled its first photo.

    python benchmarks/inference.py                               # untrained networks: as fast
    python benchmarks/inference.py --model models/refsr --rounds 5

The last line is one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import cast

import onnx
import torch
from edsr import EdsrBaseline
from torch import nn

from refsr.evaluation.ensemble import self_ensemble
from refsr.inference import export, fitting, onnx_upscaler
from refsr.inference.onnx_graph import branches_of, joined
from refsr.inference.quantization import Face, quantized
from refsr.io.paths import path_text
from refsr.loading import checkpoint_file
from refsr.models import SuperResolver, build
from refsr.models.checkpoint import load_model, save_model

FIRST_PHOTO = """
import sys
import numpy as np
import refsr
model = refsr.load(sys.argv[1])
photo, portrait = (np.zeros((side, side, 3), np.uint8) for side in (model.lr_size, model.hr_size))
model.upscale(photo, portrait)
"""
Run = Callable[[], object]


def main() -> None:
    """Measure, print a line for each candidate and batch, then one JSON object."""
    options = parse_options()
    os.environ["OMP_NUM_THREADS"] = "1"  # ONNX Runtime's too; see onnx_upscaler
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="refsr-inference-") as folder, ExitStack() as stack:
        checkpoint = Path(folder) / "model.safetensors"
        if options.model:
            checkpoint = stack.enter_context(checkpoint_file(options.model))
        else:
            save_model(checkpoint, build({"model": "refsr", "variant": "compact"}))
        compact = load_model(checkpoint)
        files = {name: Path(folder) / f"{name}.onnx" for name in ("compact_onnx", "compact_int8")}
        export.export(compact, {}, files["compact_onnx"])
        write_int8(compact, files["compact_int8"])
        times = {batch: measure(compact, files, batch, options.rounds) for batch in options.batches}
        ready = {each.suffix[1:]: first_photo(each) for each in (checkpoint, files["compact_onnx"])}
    print(json.dumps(result(compact, options.rounds, times, ready)))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=path_text, help="a RefSR (default: one that is not trained)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each batch (default: 5)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="(default: 1 16)")
    return parser.parse_args()


def write_int8(compact: nn.Module, file: Path) -> None:
    """An export of 8 bits whose ranges are those of noise: it is as fast as one of faces."""
    side, hr_size = fitting.sizes(cast(SuperResolver, compact).config)
    lr, ref = torch.rand(1, 3, side, side), torch.rand(1, 1, 3, hr_size, hr_size)
    noise = Face({"lr": lr.numpy(), "ref": ref.numpy()}, ref[:, 0].numpy())
    branches = branches_of(compact, any_size=True)
    onnx.save(joined(compact, [quantized(each, [noise]) for each in branches]), file)


def candidates(compact: nn.Module, files: dict[str, Path], batch: int) -> dict[str, Run]:
    """What runs one batch, by name."""
    config = cast(SuperResolver, compact).config
    side, hr_size = fitting.sizes(config)
    lr, ref = torch.rand(batch, 3, side, side), torch.rand(batch, 1, 3, hr_size, hr_size)
    sizes = {"hr_size": hr_size, "scale": config["scale"]}
    release = build({"model": "refsr", "variant": "release", **sizes}).eval()
    once = cast(SuperResolver, release).upscale
    feeds = {"lr": lr.numpy(), "ref": ref.numpy()}
    return {
        "compact": partial(cast(SuperResolver, compact).upscale, lr, ref),
        **{
            name: partial(onnx_upscaler.open_session(file).run, None, feeds)
            for name, file in files.items()
        },
        "release": partial(once, lr, ref),
        "release_protocol": partial(self_ensemble, once, lr, ref),
        "edsr": partial(EdsrBaseline(**sizes).eval().upscale, lr),
    }


@torch.inference_mode()
def measure(
    compact: nn.Module, files: dict[str, Path], batch: int, rounds: int
) -> dict[str, float]:
    """Milliseconds of an image, by candidate; printed too."""
    runs = candidates(compact, files, batch)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in runs.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    medians = {name: 1000 * statistics.median(each[1:]) / batch for name, each in taken.items()}
    for name, median in medians.items():
        print(f"batch {batch:>2} {name:<17} {median:8.2f} ms an image", flush=True)
    return medians


def first_photo(model: Path) -> float:
    """Seconds of the processor until a new process has upscaled a photo."""
    start = os.times()
    subprocess.run([sys.executable, "-c", FIRST_PHOTO, str(model)], check=True)
    end = os.times()
    taken = end.children_user - start.children_user + end.children_system - start.children_system
    return round(taken, 2)


def result(
    compact: nn.Module, rounds: int, times: dict[int, dict[str, float]], ready: dict[str, float]
) -> dict[str, object]:
    """The JSON object: how many times as long as ours the others take, and all times."""
    ratios = {
        f"{other}_over_{ours}_{batch}": round(each[other] / each[ours], 2)
        for batch, each in times.items()
        for ours, others in {
            "compact_int8": ("compact", "compact_onnx", "release", "release_protocol", "edsr"),
            "compact_onnx": ("compact", "release", "release_protocol", "edsr"),
            "compact": ("release", "release_protocol", "edsr"),
        }.items()
        for other in others
    }
    return {
        "config": cast(SuperResolver, compact).config,
        "rounds": rounds,
        **ratios,
        "ms_per_image": {
            batch: {name: round(value, 2) for name, value in each.items()}
            for batch, each in times.items()
        },
        "ready_s": ready,
    }


if __name__ == "__main__":
    main()
