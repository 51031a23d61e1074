"""Measures of the latent variable: diversity of samples, their calibration, active units."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation import image_quality
from refsr.evaluation.batches import batches, seed_draws
from refsr.evaluation.networks import Models
from refsr.evaluation.protocol import images
from refsr.evaluation.statistics import bootstrap
from refsr.models.pretrained import identity_similarity

Embed = Callable[[torch.Tensor], torch.Tensor]  # (N, 3, H, W) -> (N, D)
MOST_PEOPLE = 64  # whose first image is sampled
BINS = 10
ACTIVE = 0.01  # variance above which a latent unit is active (Burda et al., ICLR 2016)


@torch.inference_mode()
def diversity(
    curated: Curated,
    models: Models,
    test: pd.DataFrame,
    count: int,
    batch_size: int,
    embed: Embed | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """How `count` samples differ, and how well their spread predicts the error.

    Samples are of temperature 1, with the right reference. With `embed`, also what the one is worth
    whose identity is the nearest to the reference: see `best_of`.

    {samples, images, distance: mean pairwise |difference| in 8-bit levels, psnr: mean over samples,
    psnr_sd, calibration: {bin_1 ...: {predicted, actual}}, calibration_ratio, best}. Empty where
    the network draws no samples.
    """
    if not models.refsr.draws_samples:
        return {}
    chosen = test.drop_duplicates("person").head(MOST_PEOPLE)
    distance, psnr, predicted, actual, best = [], [], [], [], []
    for batch in batches(chosen, batch_size):
        hr, ref = _right_pairs(curated, models, batch)
        lr = reduce(hr, models.scale)
        drawn = _drawn(models, lr, ref, (1.0,) * count)
        distance.append(pairwise(drawn))
        psnr.append(torch.stack([image_quality.psnr(each, hr) for each in drawn], 1))
        if embed:
            plain = _drawn(models, lr, ref, (0.0,))
            best.append(best_of(torch.cat([plain, drawn]), hr, ref, embed))
        # of HR around the mean of the samples, were HR one of them
        predicted.append(drawn.var(0) * (1 + 1 / count))
        actual.append((drawn.mean(0) - hr).square())
    scores = torch.cat(psnr)
    return {
        "samples": count,
        "images": len(chosen),
        "distance": float(torch.cat(distance).mean()) * 255,
        "psnr": float(scores.mean()),
        "psnr_sd": float(scores.std(1).mean()),
        **calibration(
            torch.cat(predicted).flatten().cpu().numpy(),
            torch.cat(actual).flatten().cpu().numpy(),
        ),
        **_intervals(best, resamples, seed),
    }


def _right_pairs(
    curated: Curated, models: Models, batch: pd.DataFrame
) -> tuple[torch.Tensor, torch.Tensor]:
    """HR and the right references of a batch, on the device: (B, 3, H, W) each."""
    hr, ref = (images(curated, batch[key].to_numpy(), models.device) for key in ("row", "right"))
    return hr, ref


def _drawn(
    models: Models, lr: torch.Tensor, ref: torch.Tensor, temperatures: Sequence[float]
) -> torch.Tensor:
    """An output of RefSR at each temperature: (K, B, 3, H, W), of 8 bits."""
    return torch.stack(
        [to_8_bits(models.refsr.upscale(lr, ref, temperature=each)) for each in temperatures]
    )


def best_of(
    outputs: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor, embed: Embed
) -> dict[str, dict[str, torch.Tensor]]:
    """The sample that is chosen by the reference, which whoever upscales has.

    `outputs` (1 + K, B, 3, H, W) are that of temperature 0, then samples. {output, sample, nearest:
    {psnr, identity: (B,)}}: of temperature 0, the mean over samples, and of the sample with the
    greatest cosine to the reference. Identity is the cosine to HR.
    """
    known, true = embed(ref), embed(hr)
    embedded = [embed(each) for each in outputs]
    near = torch.stack([identity_similarity(each, known) for each in embedded[1:]])
    values = {
        "psnr": torch.stack([image_quality.psnr(each, hr) for each in outputs]),
        "identity": torch.stack([identity_similarity(each, true) for each in embedded]),
    }
    chosen = near.argmax(0, keepdim=True)
    taken = {name: each[1:].gather(0, chosen)[0] for name, each in values.items()}
    return {
        "output": {name: each[0] for name, each in values.items()},
        "sample": {name: each[1:].mean(0) for name, each in values.items()},
        "nearest": taken,
    }


def _intervals(
    best: list[dict[str, dict[str, torch.Tensor]]], resamples: int, seed: int
) -> dict[str, Any]:
    """{best: {output, sample, nearest: {psnr, identity: {mean, low, high}}}}, over people."""
    if not best:
        return {}

    def interval(name: str, key: str) -> dict[str, float]:
        values = torch.cat([batch[name][key] for batch in best])
        return bootstrap(values.double().cpu().numpy(), resamples, seed)

    rows = {name: {key: interval(name, key) for key in best[0][name]} for name in best[0]}
    return {"best": rows}


def pairwise(drawn: torch.Tensor) -> torch.Tensor:
    """Mean |difference| over all pairs of samples: (K, B, ...) -> (B,)."""
    first, second = torch.triu_indices(len(drawn), len(drawn), 1)
    return (drawn[first] - drawn[second]).abs().flatten(2).mean((0, 2))


def calibration(predicted: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    """Predicted variances and squared errors of pixels -> {calibration, calibration_ratio}.

    Both are (N,), in [0, 1]^2. Pixels are sorted by predicted variance into BINS equal parts; of
    each the root mean of both, in 8-bit levels. The ratio is that of all pixels, actual over
    predicted: 1 is calibrated, above 1 too sure of itself.
    """
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, BINS)
    curve = {
        f"bin_{number:02d}": {
            "predicted": _root(predicted[part]),
            "actual": _root(actual[part]),
        }
        for number, part in enumerate(parts, 1)
    }
    return {
        "calibration": curve,
        "calibration_ratio": _root(actual) / max(_root(predicted), 1e-6),
    }


def _root(squares: np.ndarray) -> float:
    return 255 * float(np.sqrt(squares.mean()))


class Latents(NamedTuple):
    """The latent variable of N images: (N, K) and (N,)."""

    shift: np.ndarray  # mean of the posterior less that of the prior
    kl: np.ndarray  # nats, the mean over the image's batch


@torch.inference_mode()
def latents(
    curated: Curated,
    models: Models,
    test: pd.DataFrame,
    batch_size: int,
    seed: int,
) -> Latents:
    """What RefSR does with its latent variable on each image; K is 0 where it has none."""
    shifts, kl = [], []
    for batch in batches(test, batch_size):
        hr, ref = _right_pairs(curated, models, batch)
        seed_draws(seed, "latent", batch["source"].iloc[0])
        output = models.refsr(reduce(hr, models.scale), hr, ref)
        shifts.append(output.posterior_mean - output.prior_mean)
        kl += [float(output.kl)] * len(batch)
    return Latents(torch.cat(shifts).float().cpu().numpy(), np.array(kl))


def active_units(latent: Latents) -> dict[str, float]:
    """{units, active, kl}: latent dimensions, the active ones, and the KL in nats per image.

    A unit is active where the mean of the posterior, less that of the prior, varies by more than
    ACTIVE over the images (Burda et al., ICLR 2016, for a prior that is learned). Empty where there
    is no latent variable.
    """
    units = latent.shift.shape[1]
    if not units:
        return {}
    active = int((latent.shift.var(0) > ACTIVE).sum())
    return {"units": units, "active": active, "kl": float(latent.kl.mean())}
