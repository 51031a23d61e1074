"""What peers.py and ablations.py share.

The project's own loop trains the models, its own protocol measures them, on validation people:
what is compared here is chosen by, and the test people are for the report.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from refsr.config import Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation import image_quality, samples
from refsr.evaluation.networks import load_models
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import images
from refsr.evaluation.statistics import bootstrap
from refsr.io.paths import path_option
from refsr.models import SuperResolver, build, reference_config
from refsr.models.checkpoint import load_matching, load_model, read_checkpoint
from refsr.models.pretrained import identity_embeddings, identity_network, identity_similarity
from refsr.params import load_section
from refsr.tracker import NullTracker
from refsr.training.embedder import untrained_embedder
from refsr.training.fit import objective_for, pairs_for
from refsr.training.learner import Learner
from refsr.training.loop import train
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs

PARAMS = Path(__file__).parents[1] / "params.yaml"  # the demo's
SHARE_OF_SISR = 3 / 22  # of the steps of a pair of networks, as in the demo
SPLIT = "validation"
PROBES = 3  # steps by which the processor time of one is known; the first is not counted
Scores = dict[str, list[float]]  # metric -> a value per person


def model_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--curated` and `--model`, which are the demo's by default."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    checkpoint = Path("models/refsr/model.safetensors")
    parser.add_argument("--curated", type=path_option, default=Path("data/curated"))
    parser.add_argument("--model", type=path_option, default=checkpoint)
    return parser


def demo_sections(steps: int, **common: object) -> tuple[TrainSisr, TrainRefsr]:
    """The demo's parameters of a pair of networks, at a length of `steps` in all.

    SISR is only what RefSR starts from: its rate does not fall. Float32, so that machines agree on
    what is compared.
    """
    sisr, refsr = (load_section(PARAMS, stage) for stage in ("train_sisr", "train_refsr"))
    first = max(1, round(SHARE_OF_SISR * steps))
    common = {"precision": "float32", "log_every": 10, "save_every": 20} | common
    lengths = {"steps": first, "warm_start_step": first, "schedule": "constant"}
    return (
        cast(TrainSisr, sisr).model_copy(update=common | lengths),
        cast(TrainRefsr, refsr).model_copy(update=common | {"steps": max(1, steps - first)}),
    )


def fit(params: Training, faces: Curated, folder: Path, before: Path | None = None) -> Path:
    """The checkpoint of SISR, or of RefSR started from `before`; trains it unless that is done."""
    if not (folder / "model.safetensors").exists():
        objective = objective_for(params, faces, folder, NullTracker())
        model = network(params, faces, before)
        train(
            model,
            pairs_for(model, faces, params),
            params,
            objective,
            NullTracker(),
            folder,
        )
    return folder / "model.safetensors"


def network(params: Training, faces: Curated, before: Path | None) -> nn.Module:
    """The network of these parameters with its first weights."""
    torch.manual_seed(params.seed)
    if isinstance(params, TrainSisr):
        kind = {
            "model": "sisr",
            "variant": params.variant,
            "hr_size": faces.hr_size,
            "scale": params.scale,
        }
        return build(kind | params.model)
    config, _, weights = read_checkpoint(cast(Path, before))
    model = build(reference_config(config) | params.model)
    load_matching(model, weights)
    return model


def seconds_per_step(model: nn.Module, params: Training, faces: Curated) -> float:
    """The processor time of one training step."""
    objective = Objective(params.loss, params.steps, untrained_embedder(params.loss))
    learner, drawn = Learner(model, params, objective), pairs_for(model, faces, params)
    return float(np.median([_timed(learner, drawn, step) for step in range(PROBES)][1:]))


def _timed(learner: Learner, drawn: Pairs, step: int) -> float:
    batch, start = drawn.batch(step, learner.device), time.process_time()
    learner.train_step(batch)
    return time.process_time() - start


@torch.inference_mode()
def measure(
    faces: Curated,
    checkpoint: Path | None,
    references: Sequence[str] = ("right",),
) -> dict[str, Scores]:
    """Reference ("right", "wrong" or "none") -> PSNR, SSIM and identity of each person.

    They are as refsr.evaluation takes them; without a checkpoint of the bicubic enlargement.
    """
    model = cast(SuperResolver, load_model(checkpoint)) if checkpoint else None
    embedder, tables = identity_network(), []
    chosen = pairs(faces.table, seed=0, split=SPLIT)
    for start in range(0, len(chosen), 32):
        batch = chosen.iloc[start : start + 32]
        hr = images(faces, batch["row"].to_numpy(), "cpu")
        lr = reduce(hr, hr.shape[-1] // _lr_size(faces, model))
        embedding = identity_embeddings(embedder, hr)
        for name in references:
            ref = None if name == "none" else images(faces, batch[name].to_numpy(), "cpu")
            sr = _restored(model, lr, ref, (hr.shape[-2], hr.shape[-1]))
            values = {"psnr": image_quality.psnr(sr, hr), "ssim": image_quality.ssim(sr, hr)}
            values["identity"] = identity_similarity(identity_embeddings(embedder, sr), embedding)
            columns = {key: value.double().numpy() for key, value in values.items()}
            columns |= {"reference": name, "person": batch["person"].to_numpy()}
            tables.append(pd.DataFrame(columns))
    people = pd.concat(tables).groupby(["reference", "person"]).mean()
    return {name: {key: people.loc[name][key].tolist() for key in people} for name in references}


def _restored(
    model: SuperResolver | None, lr: torch.Tensor, ref: torch.Tensor | None, size: tuple[int, int]
) -> torch.Tensor:
    """SR of the model, or without one the bicubic enlargement, as 8-bit values."""
    return to_8_bits(enlarge(lr, size) if model is None else model.upscale(lr, ref))


def measure_samples(faces: Curated, checkpoint: Path) -> dict[str, float]:
    """{distance, ratio, active}: how good the samples of a reference network are.

    The measures are those of refsr.evaluation.samples. Empty where it draws none.
    """
    models = load_models({"refsr": checkpoint}, faces.hr_size)
    chosen = pairs(faces.table, seed=0, split=SPLIT)
    torch.manual_seed(0)
    drawn = samples.diversity(faces, models, chosen, count=8, batch_size=32)
    if not drawn:
        return {}
    latent = samples.latents(faces, models, chosen, batch_size=32, seed=0)
    active = samples.active_units(latent)
    share = active["active"] / active["units"]
    return {"distance": drawn["distance"], "ratio": drawn["calibration_ratio"], "active": share}


def _lr_size(faces: Curated, model: SuperResolver | None) -> int:
    return faces.hr_size // (int(model.config["scale"]) if model else 8)


def interval(values: Sequence[float]) -> dict[str, float]:
    """{mean, low, high} over people, 95%."""
    return bootstrap(np.array(values), 2000, 0)


def means(scores: Mapping[str, Any]) -> dict[str, float]:
    """The mean of each metric."""
    return {key: round(float(np.mean(values)), 5) for key, values in scores.items()}
