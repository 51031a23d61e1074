"""Fits how a finished network rates references; its weights stay as they are.

How much each difference counts is learned from pairs of training people, who are many. What a
rating means as a probability is learned from validation people, of whom the network knows nothing.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from refsr.config import TrainRefsr
from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_images
from refsr.models import SuperResolver
from refsr.models.checkpoint import COMPATIBILITY, add_facts, load_model
from refsr.models.compatibility import Comparing, Compatibility
from refsr.progress import track
from refsr.training.precision import choose_device

MOST = 1000  # images of a split that are compared
WRONG = 4  # references of other people beside the right one of each
RIDGE = 3e-3  # on weights of standardised differences
NEWTON_STEPS = 30
DIGITS = 6  # of what is stored
BATCH = 32
_logger = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Images and references of one split, as rows of the manifest."""

    rows: np.ndarray  # (N,)
    references: np.ndarray  # (N, 1 + WRONG), the right one first


def add_compatibility(checkpoints: Iterable[Path], faces: Curated, params: TrainRefsr) -> None:
    """Calibrate the networks of checkpoints, and keep that in their headers."""
    for each in checkpoints:
        model = load_model(each, choose_device(params.device))
        learned = calibrate(model, faces, params.seed)
        if learned is None:
            return  # and so with the others
        add_facts(each, {COMPATIBILITY: learned._asdict()})


def calibrate(model: nn.Module, faces: Curated, seed: int) -> Compatibility | None:
    """Fit `model.compatibility` of a network in evaluation mode, and return it.

    None, and the log says why, where the variant does not compare, or a split has fewer than two
    people with an image and a reference.
    """
    if not isinstance(model, Comparing):
        return None
    drawn = {split: draw_pairs(faces, split, seed) for split in ("train", "validation")}
    for split, pairs in drawn.items():
        if pairs is None:
            few = "fewer than two people with an image and a reference"
            _logger.warning("no compatibility score: the %s split has %s", split, few)
            return None
    train, validation = (measured(model, faces, pairs) for pairs in drawn.values() if pairs)
    weights = weigh(train)
    slope, offset = platt(validation @ weights)
    model.compatibility = Compatibility(
        tuple(_rounded(slope * weight) for weight in weights), _rounded(offset)
    )
    _logger.info(
        "compatibility score: calibrated on %d pairs of validation", validation[..., 0].size
    )
    return model.compatibility


def draw_pairs(faces: Curated, split: str, seed: int) -> Pairs | None:
    """Up to MOST images of a split, each with its right reference and WRONG of other people."""
    rows = faces.split(split)
    table = faces.table.iloc[rows]
    is_reference = (table["role"] == "reference").to_numpy()
    people = table["identity"].to_numpy()
    own = pd.Series(rows[is_reference], index=people[is_reference])
    place = own.index.get_indexer(pd.Index(people))
    chosen = np.flatnonzero(~is_reference & (place >= 0))
    if len(own) < 2 or not len(chosen):
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(chosen)[:MOST])
    away = rng.integers(1, len(own), (len(chosen), WRONG))
    others = (place[chosen, None] + away) % len(own)
    given = np.concatenate([place[chosen, None], others], 1)
    return Pairs(rows[chosen], own.to_numpy()[given])


@torch.inference_mode()
def measured(model: Comparing, faces: Curated, pairs: Pairs) -> np.ndarray:
    """The differences of pairs: (N, 1 + WRONG, D) float64."""
    network = cast(Any, model)
    scale = int(cast(SuperResolver, network).config["scale"])
    device = next(network.parameters()).device
    parts = []
    starts = range(0, len(pairs.rows), BATCH)
    for start in track(starts, total=len(starts), desc="compared", unit="batch"):
        lr = reduce(to_images(faces.pixels(pairs.rows[start : start + BATCH]), device), scale)
        chosen = pairs.references[start : start + BATCH]
        ref = to_images(faces.pixels(chosen.ravel()), device)
        values = model.differences(lr, ref.reshape(*chosen.shape, *ref.shape[1:]))
        parts.append(values.cpu().numpy().astype(np.float64))
    return np.concatenate(parts)


def weigh(values: np.ndarray) -> np.ndarray:
    """Weights (D,) that tell the first of each (N, R, D) from the others, by logistic regression.

    Right and wrong count alike, however many there are of each.
    """
    spread = values.std((0, 1)) + 1e-6
    flat = (values / spread).reshape(-1, values.shape[-1])
    right = _is_right(values)
    counted = np.where(right, 0.5 / right.mean(), 0.5 / (1 - right.mean())) / len(right)
    ridge = np.full(flat.shape[1], RIDGE)
    weights: np.ndarray = logistic(flat, right.astype(float), counted, ridge)[:-1] / spread
    return weights


def platt(ratings: np.ndarray) -> tuple[float, float]:
    """The slope and offset by which ratings (N, R) are log odds, right and wrong as frequent.

    Platt's targets (1999) keep them finite where ratings separate right from wrong.
    """
    right = _is_right(ratings[..., None])
    count, others = int(right.sum()), int((~right).sum())
    targets = np.where(right, (count + 1) / (count + 2), 1 / (others + 2))
    counted = np.where(right, 0.5 / count, 0.5 / others)
    scale = ratings.std() + 1e-12
    flat = ratings.reshape(-1, 1) / scale
    slope, offset = logistic(flat, targets, counted, np.array([1e-6]))
    return float(slope / scale), float(offset)


def _is_right(values: np.ndarray) -> np.ndarray:
    right = np.zeros(values.shape[:2], bool)
    right[:, 0] = True
    return right.ravel()


def logistic(
    values: np.ndarray, targets: np.ndarray, counted: np.ndarray, ridge: np.ndarray
) -> np.ndarray:
    """Logistic regression by Newton's method: (D + 1,) weights, the offset last.

    Args:
        values: (N, D).
        targets: Probabilities (N,).
        counted: How much each row counts, (N,), 1 in sum.
        ridge: Penalty on half the square of each weight, (D,).
    """
    values = np.column_stack([values, np.ones(len(values))])
    ridge = np.append(ridge, 1e-9)
    weights = np.zeros(values.shape[1])
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(values @ weights, -30, 30)))
        gradient = values.T @ (counted * (p - targets)) + ridge * weights
        curvature = (values * (counted * p * (1 - p))[:, None]).T @ values + np.diag(ridge)
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def _rounded(value: float) -> float:
    """As it is stored: what machines add up differently is below this."""
    return float(f"{value:.{DIGITS}g}")
