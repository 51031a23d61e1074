"""The variants and a peer on the same data, loss, batch and steps, or for the same processor time; one table.

| model | what it is |
|---|---|
| edsr | EDSR-baseline at 8x (benchmarks/edsr.py): single images |
| release, figure | the paper's networks, SISR first and RefSR started from it |
| default | the compact variant, the same way |

All go through the training loop of the project with the demo's parameters: data, batches, loss, optimiser, averaging.
What differs is RATES and the size of the compact network, which is the demo's. Of a pair of networks, SISR has the first
5/11 of the steps at a constant rate and RefSR the rest, as in the demo. Every model is then measured as the protocol
does: on 8-bit outputs of the held-out people, with the right reference, intervals over identities. `s/step` is the time
of one processor. With `--seconds` every model trains for as many steps as take it that long, by its first steps.

    python benchmarks/peers.py --curated data/curated --steps 200 --output data/peers
    python benchmarks/peers.py --curated data/curated --seconds 300 --output data/peers-seconds

A model whose training was killed goes on, one that is done is not trained again as long as `--output` is kept. The last
line is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from refsr.config import Training, TrainRefsr, TrainSisr, load_section
from refsr.data.curated import Curated
from refsr.data.degrade import enlarge, reduce
from refsr.evaluation import metrics
from refsr.evaluation.protocol import images, pairs, to_8_bits
from refsr.evaluation.statistics import bootstrap
from refsr.evaluation.table import cell
from refsr.models import NETWORKS, SuperResolver, build, reference_config
from refsr.models.checkpoint import load_matching, load_model, read_checkpoint
from refsr.models.pretrained import identity_embeddings, identity_network, identity_similarity
from refsr.tracker import NullTracker
from refsr.training.loop import Learner, train
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs

ROOT = Path(__file__).parents[1]
NETWORKS[("sisr", "edsr")] = ("edsr", "EdsrBaseline")  # beside this file
VARIANTS = {"edsr": "edsr", "release": "release", "figure": "figure", "default": "compact"}
# The demo's for what was made here; for the paper's networks the paper's, which are 40 and more times as large.
RATES = {"release": 1e-4, "figure": 1e-4}
SHARE_OF_SISR = 5 / 11
PROBES = 3  # steps by which the processor time of one is known; the first is not counted
COLUMNS = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 3), "identity": ("identity", 4)}


def main() -> None:
    """Train, measure, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curated", type=Path, default=Path("data/curated"))
    parser.add_argument("--output", type=Path, default=Path("data/peers"), help="checkpoints and results, kept")
    parser.add_argument("--models", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="of each model, SISR and RefSR together")
    length.add_argument("--seconds", type=float, help="processor seconds of each model, SISR and RefSR together")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faces = Curated(options.curated)
    results = {"bicubic": {"scores": measure(faces, None)}}
    for name in options.models:
        results[name] = run(name, faces, options)
    print(table(results))
    print(json.dumps({name: summary(result) for name, result in results.items()}))


def run(name: str, faces: Curated, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one model, unless its result is there already."""
    folder = options.output / name
    done = folder / "result.json"
    if not done.exists():
        cost = seconds_per_step(name, faces)
        steps = options.steps or max(2, round(options.seconds / mixed(cost)))
        start = time.process_time()
        model = fit(name, faces, steps, folder)
        result = {
            "steps": steps,
            "seconds_per_step": mixed(cost),
            "seconds": time.process_time() - start,
            "parameters": sum(p.numel() for p in model.parameters()),
            "scores": measure(faces, cast(SuperResolver, model)),
        }
        done.write_text(json.dumps(result))
    found: dict[str, Any] = json.loads(done.read_text())
    if options.steps and found["steps"] != options.steps:
        raise SystemExit(f"{done}: of {found['steps']} steps, not {options.steps}: name another --output")
    return found


def stages(name: str, steps: int) -> list[Training]:
    """The parameters of each network of a model: the demo's, at this length."""
    sisr, refsr = (load_section(ROOT / "params.yaml", stage) for stage in ("train_sisr", "train_refsr"))
    first = steps if name == "edsr" else max(1, round(SHARE_OF_SISR * steps))
    common = {"log_every": 10, "image_every": steps, "save_every": 20, "precision": "float32"}
    common |= {"learning_rate": RATES[name]} if name in RATES else {}
    sizes = cast(TrainSisr, sisr).model if name == "default" else {}
    own = {"variant": VARIANTS[name], "steps": first, "warm_start_step": first, "model": sizes}
    rate = {} if name == "edsr" else {"schedule": "constant"}  # SISR is only what RefSR starts from
    trained: list[Training] = [cast(TrainSisr, sisr).model_copy(update=common | own | rate)]
    if name != "edsr":
        trained.append(cast(TrainRefsr, refsr).model_copy(update=common | {"steps": max(1, steps - first)}))
    return trained


def network(name: str, params: Training, faces: Curated, before: Path | None) -> nn.Module:
    """SISR anew, or RefSR started from the SISR checkpoint `before`."""
    torch.manual_seed(params.seed)
    if before is None:
        sizes = cast(TrainSisr, params).model
        return build({"model": "sisr", "variant": VARIANTS[name], "hr_size": faces.hr_size, "scale": 8} | sizes)
    config, _, weights = read_checkpoint(before)
    model = build(reference_config(config) | params.model)
    load_matching(model, weights)
    return model


def fit(name: str, faces: Curated, steps: int, folder: Path) -> nn.Module:
    """The model trained for this many steps in all; a stage that is done is not done again."""
    before: Path | None = None
    for number, params in enumerate(stages(name, steps)):
        stage = folder / str(number)
        if not (stage / "model.safetensors").exists():
            model = network(name, params, faces, before)
            objective = Objective(params.loss, params.steps)
            train(model, batches(params, faces), params, objective, NullTracker(), stage)
        before = stage / "model.safetensors"
    return load_model(cast(Path, before))


def batches(params: Training, faces: Curated) -> Pairs:
    """Single images for SISR, pairs for RefSR."""
    return Pairs(faces, params.seed, params.batch_size, params if isinstance(params, TrainRefsr) else None)


def seconds_per_step(name: str, faces: Curated) -> list[float]:
    """The processor time of a step of each of a model's networks."""
    found = []
    for number, params in enumerate(stages(name, 100)):
        model = build(
            {"model": "refsr" if number else "sisr", "variant": VARIANTS[name], "hr_size": faces.hr_size, "scale": 8}
            | (cast(TrainSisr, stages(name, 100)[0]).model if name == "default" else {})
        )
        learner, pairs_ = Learner(model, params, Objective(params.loss, params.steps)), batches(params, faces)
        found.append(float(np.median([_timed(learner, pairs_, step) for step in range(PROBES)][1:])))
    return found


def _timed(learner: Learner, batches_: Pairs, step: int) -> float:
    batch, start = batches_.batch(step, learner.device), time.process_time()
    learner.train_step(batch)
    return time.process_time() - start


def mixed(cost: list[float]) -> float:
    """Seconds of a step over the whole training, of which SISR has its share."""
    return cost[0] if len(cost) == 1 else SHARE_OF_SISR * cost[0] + (1 - SHARE_OF_SISR) * cost[1]


@torch.inference_mode()
def measure(faces: Curated, model: SuperResolver | None) -> dict[str, list[float]]:
    """Each person's mean of each metric with the right reference; without a model of the bicubic enlargement."""
    test = pairs(faces.table, seed=0)
    judge = identity_network()
    rows = []
    for start in range(0, len(test), 32):
        batch = test.iloc[start : start + 32]
        hr, ref = (images(faces, batch[key].to_numpy(), "cpu") for key in ("row", "right"))
        lr = reduce(hr, 8)
        sr = to_8_bits(enlarge(lr, (faces.hr_size, faces.hr_size)) if model is None else model.upscale(lr, ref))
        values = {"psnr": metrics.psnr(sr, hr), "ssim": metrics.ssim(sr, hr)}
        values["identity"] = identity_similarity(identity_embeddings(judge, sr), identity_embeddings(judge, hr))
        rows.append(
            pd.DataFrame({key: value.double() for key, value in values.items()}).assign(
                person=batch["person"].to_numpy()
            )
        )
    people = pd.concat(rows).groupby("person").mean()
    return {key: people[key].tolist() for key in COLUMNS}


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line per model."""
    lines = [
        f"{len(results['bicubic']['scores']['psnr'])} held-out identities; mean [95% interval over identities]",
        f"{'':10}{'parameters':>12}{'steps':>8}{'s/step':>8}{'seconds':>9}  "
        + "".join(f"{title:26}" for title, _ in COLUMNS.values()),
    ]
    for name, result in results.items():
        cells = [cell(interval(result["scores"][key]), digits) for key, (_, digits) in COLUMNS.items()]
        cost = " " * 37
        if "steps" in result:
            cost = "{parameters:12,}{steps:8}{seconds_per_step:8.2f}{seconds:9.0f}".format(**result)
        lines.append(f"{name:10}{cost}  " + "".join(f"{text:26}" for text in cells).rstrip())
    return "\n".join(lines)


def interval(values: list[float]) -> dict[str, float]:
    """Mean and 95% interval over people."""
    return bootstrap(np.array(values), 2000, 0)


def summary(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of the table."""
    means = {key: round(float(np.mean(values)), 5) for key, values in result["scores"].items()}
    return means | {key: round(value, 3) for key, value in result.items() if key != "scores"}


if __name__ == "__main__":
    main()
