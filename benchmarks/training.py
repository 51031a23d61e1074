"""How quick a training step is here, by network, precision, layout and where images come from.

The networks, their batch and their loss are those of the params file; the images are coloured
clouds in the size it names, drawn from shards as a training draws them. What counts are ratios,
measured side by side, of medians:

| ratio, by network | what it is |
|---|---|
| over_eager | images per second over those of float32 in PyTorch's own layout, NCHW, the loss too |
| over_float32 | over float32 in the layout that trainings use |
| over_release | over the release variant, trained in the same way |
| mfu | multiply-accumulates of the network, forward and twice backward, over the peak in bfloat16 |
| over_plain | of a compiled or deterministic training: over one that is neither |
| data_wait, jpeg_data_wait | share of time in which a batch is waited for, by kind of shards |

and those of `benchmarks/loader.py`. The peak is that of the GPU's data sheet, or of a matrix
product here.

    python benchmarks/training.py --params params/vggface2.yaml
    OMP_NUM_THREADS=1 python benchmarks/training.py --rounds 9       # a CPU
    python benchmarks/training.py --params params/vggface2.yaml --gpu   # 8 minutes, all rows

The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import torch
from loader import clouds, loading, medians
from torch.utils.flop_counter import FlopCounterMode

from refsr.config import Curate, Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.io.paths import path_option
from refsr.models import build, reference_config
from refsr.params import load_section
from refsr.training.acceleration import deterministic
from refsr.training.embedder import untrained_embedder
from refsr.training.feed import batches
from refsr.training.fit import pairs_for
from refsr.training.history import Clock
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs

STAGES = ("train_sisr", "train_refsr")
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}  # dense bfloat16, FLOP/s
ENDLESS = 2**40
Row = dict[str, float]


def main() -> None:
    """Measure each network, print a line for each, then one JSON object."""
    options = parse_options()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as deterministic trainings do
    size = cast(Curate, load_section(options.params, "curate")).hr_size
    with tempfile.TemporaryDirectory(prefix="refsr-training-") as folder:
        faces = {kind: clouds(Path(folder) / kind, size, kind) for kind in ("raw", "jpeg")}
        rows = {
            f"{stage}{name}": measure(options, stage, faces, changes)
            for stage in options.stages
            for name, changes in _cases(options).items()
        }
    facts = {"device": _device(), "hr_size": size, "peak_tflops": peak() / 1e12}
    print(json.dumps(facts | rows | {"loader": loading(size, 256, 31)}))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=path_option, default=Path("params.yaml"))
    parser.add_argument("--rounds", type=int, default=9, help="of each measurement (default: 9)")
    parser.add_argument("--batch-size", type=int, help="another than the params file names")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=STAGES,
        help="(default: both)",
    )
    parser.add_argument("--gpu", action="store_true", help="all rows of a GPU, see above")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Name of a row -> changed parameters."""
    if not options.gpu:
        return {"": {"batch_size": options.batch_size} if options.batch_size else {}}
    return {
        f"_{size}{name}": changes | {"batch_size": size}
        for size in (64, 256)
        for name, changes in (
            ("", {}),
            ("_compiled", {"compile": True}),
            ("_deterministic", {"deterministic": True}),
        )
    }


def measure(
    options: argparse.Namespace,
    stage: str,
    faces: dict[str, Curated],
    changes: dict[str, object],
) -> Row:
    """The numbers of a network, trained with these changes; printed too."""
    params = cast(Training, load_section(options.params, stage)).model_copy(update=changes)
    config = _network(options.params, faces["raw"].hr_size, stage)
    row = _measured(config, params, faces, options.rounds)
    rounded = {key: float(f"{value:.3g}") for key, value in row.items()}
    print(stage, changes, rounded, flush=True)
    return rounded


def _measured(
    config: dict[str, object],
    params: Training,
    faces: dict[str, Curated],
    rounds: int,
) -> Row:
    learners = {"step": _learner(config, params)} | _others(config, params)
    batch = _pairs(learners["step"], faces["raw"]).batch(0, learners["step"].device)
    steps = {name: _step(learner, batch, name) for name, learner in learners.items()}
    seconds = medians(steps, rounds, _clock())
    step = seconds["step"]
    row = {
        "batch_size": params.batch_size,
        "step_ms": 1000 * step,
        "images_per_second": params.batch_size / step,
        "mfu": 3 * forward_flops(learners["step"], batch) / step / peak(),
    }
    row |= {f"over_{name}": seconds[name] / step for name in seconds if name != "step"}
    learners = {"step": learners["step"]}
    steps.clear()
    waits = {"data_wait": "raw", "jpeg_data_wait": "jpeg"}
    fed = {key: waiting(learners["step"], faces[kind], rounds) for key, kind in waits.items()}
    return row | fed | {"memory_gb": _peak_gb()}


def _others(config: dict[str, object], params: Training) -> dict[str, Learner]:
    """What a training is compared with, by the name of the ratio."""
    plain = params.model_copy(update={"compile": False, "deterministic": False})
    if params.compile or params.deterministic:
        return {"plain": _learner(config, plain)}
    exact = params.model_copy(update={"precision": "float32"})
    others = {"eager": _learner(config, exact), "float32": _learner(config, exact)}
    for module in (others["eager"].model, others["eager"].objective):
        module.to(memory_format=torch.contiguous_format)
    return others | {"release": _learner(_release(config), params)}


def _network(path: Path, size: int, stage: str) -> dict[str, object]:
    sisr = cast(TrainSisr, load_section(path, "train_sisr"))
    facts = {"model": "sisr", "variant": sisr.variant, "hr_size": size, "scale": sisr.scale}
    config = facts | sisr.model
    if stage == "train_sisr":
        return config
    return (
        reference_config(build(config).config) | cast(TrainRefsr, load_section(path, stage)).model
    )


def _release(config: dict[str, object]) -> dict[str, object]:
    facts = {key: config[key] for key in ("model", "hr_size", "scale")}
    return facts | {"variant": "release"}


def _learner(config: dict[str, object], params: Training) -> Learner:
    torch.manual_seed(0)
    objective = Objective(params.loss, params.steps, untrained_embedder(params.loss))
    return Learner(build(config), params, objective)


def _pairs(learner: Learner, faces: Curated) -> Pairs:
    """Single images, or pairs each of which has a reference, so that all steps are alike."""
    params = learner.params
    always = {"no_reference": 0.0} if isinstance(params, TrainRefsr) else {}
    return pairs_for(learner.model, faces, params.model_copy(update=always))


def _step(learner: Learner, batch: Batch, name: str) -> Callable[[], object]:
    """A step on the same images; on a GPU ten, since it is not waited for between them."""
    known = batch if _takes_landmarks(learner) else batch._replace(faces=None, points=None)
    if name == "eager":
        parts = (None if part is None else part.contiguous() for part in known)
        known = Batch._make(parts)
    times = 10 if learner.device == "cuda" else 1

    def train() -> None:
        with deterministic(is_asked=learner.params.deterministic):
            for _ in range(times):
                learner.train_step(known)

    return train


def _takes_landmarks(learner: Learner) -> bool:
    return bool(getattr(learner.model, "learns_landmarks", False))


def _clock() -> Callable[[], float]:
    """Seconds per step: of the processor, or of a GPU that is waited for."""
    if not torch.cuda.is_available():
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter() / 10

    return clock


def forward_flops(learner: Learner, batch: Batch) -> int:
    """Of the network in training, without its loss."""
    lr = reduce(batch.hr, learner.config["scale"])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        learner.model(lr, *batch.inputs())
    return int(counter.get_total_flops())


def waiting(learner: Learner, faces: Curated, rounds: int) -> float:
    """The share of time in which a batch is waited for, as a training sees it."""
    with closing(batches(_pairs(learner, faces), learner.device, 0, ENDLESS)) as ahead:
        for _ in range(3):
            learner.train_step(next(ahead))
        clock = Clock(learner.params.batch_size, learner.step)
        for _ in range(rounds * (10 if learner.device == "cuda" else 1)):
            with clock.waiting():
                batch = next(ahead)
            learner.train_step(batch)
        float(learner.means.values()["loss"])  # waits for a GPU
        return clock.lap(learner.step)["data_wait"]


def peak() -> float:
    """FLOP/s in bfloat16: of the data sheet, or of a matrix product here."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return next((rate for key, rate in PEAKS.items() if key in name), float("nan"))
    left, right = torch.rand(2, 1024, 1024, dtype=torch.float32).to(torch.bfloat16)
    seconds = medians({"product": lambda: left @ right}, 15)["product"]
    return 2 * 1024**3 / seconds


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


if __name__ == "__main__":
    main()
