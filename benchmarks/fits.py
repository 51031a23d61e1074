"""Candidates for the compatibility score, for compatibility.py: what tells right from wrong."""

from typing import NamedTuple

import arena
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import images
from refsr.evaluation.recognition import share_below
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import CELLS, differences_of
from refsr.models.pretrained import (
    identity_embeddings,
    identity_network,
)
from refsr.training import compatibility

MIDDLE = slice(CELLS // 4, -CELLS // 4)
DLIB = "embedding distance (dlib)"
ALL = "all of the above but dlib's"
CELL = "differences of 8x8 cells, logistic"


class People(NamedTuple):
    """Validation people: their images, and a reference of each."""

    hr: torch.Tensor  # (N, 3, H, W)
    ref: torch.Tensor  # (P, 3, H, W)
    place: np.ndarray  # (N,), where each image's own reference is
    other: np.ndarray  # (N,), where its wrong one is


def validation_people(faces: Curated) -> People:
    """The images and references that the protocol takes."""
    chosen = pairs(faces.table, seed=0, split=arena.SPLIT)
    own = chosen.drop_duplicates("person")
    place = pd.Series(range(len(own)), index=own["person"])
    right = place[chosen["person"]]
    wrong = place[chosen["wrong_person"]]
    return People(
        images(faces, chosen["row"].to_numpy(), "cpu"),
        images(faces, own["right"].to_numpy(), "cpu"),
        right.to_numpy(copy=True),
        wrong.to_numpy(copy=True),
    )


@torch.inference_mode()
def candidates(model: CompactRefsr, faces: Curated, people: People) -> dict[str, tuple[str, float]]:
    """Title -> (whose pairs gave its weights, AUC)."""
    lr, ref, place = reduce(people.hr, model.scale), people.ref, people.place
    laid = [model.aligned(each[None], ref[None]) for each in lr]
    single = _single(model, lr, ref, torch.cat(laid))
    areas = {key: area(-far, place) for key, far in single.items()}
    areas[DLIB] = area(_embedded(model, lr, ref), place)
    result = {key: ("", value) for key, value in areas.items()}
    together = np.stack(list(single.values()), -1)
    cells = differences_of(lr, torch.cat(laid))
    several = {ALL: together, CELL: cells.double().numpy()}
    for key, values in several.items():
        result[key] = "other half", _crossed(values, people)
    for key, rated in _by_training_people(model, faces, several[CELL]).items():
        result[key] = "training", area(rated, place)
    return result


def _by_training_people(
    model: CompactRefsr, faces: Curated, cells: np.ndarray
) -> dict[str, np.ndarray]:
    """Title -> ratings (N, P) of differences (N, P, D), in brightness alone and in all."""
    drawn = compatibility.draw_pairs(faces, "train", 0)
    assert drawn is not None
    known = compatibility.measured(model, faces, drawn)
    count = known.shape[-1]
    kept = {"brightness": count // 3, "all: the score": count}
    return {
        f"{CELL}, {key}": cells[..., :most] @ compatibility.weigh(known[..., :most])
        for key, most in kept.items()
    }


def _single(
    model: CompactRefsr, lr: torch.Tensor, ref: torch.Tensor, laid: torch.Tensor
) -> dict[str, np.ndarray]:
    """Title -> how far each reference is from each image, (N, P): one number of a pair."""
    here = lr[:, None]
    small = torch.stack([_reduced(each, lr) for each in laid])
    gap = small - here
    middle = gap[..., MIDDLE, MIDDLE]
    unlaid = _reduced(ref, lr) - here
    tone = gap.mean((-2, -1), keepdim=True)
    cells = differences_of(lr, laid).unflatten(-1, (3, -1))
    seen = torch.stack([model.encode(each) for each in small])
    own = model.encode(lr)[:, None]
    far = {
        "mean difference": _size(gap),
        "mean difference of the middle": _size(middle),
        "mean difference in brightness": _size(cells[:, :, :1]),
        "mean difference in colour": _size(cells[:, :, 1:]),
        "mean difference without the mean tone": _size(gap - tone),
        "difference of the mean tone": _size(tone),
        "mean difference, reference not laid": _size(unlaid),
        "correlation": -_cosine(_toneless(small), _toneless(here)),
        "cosine of the trunk's features": -_cosine(seen, own),
    }
    return {title: value.double().numpy() for title, value in far.items()}


def _size(gap: torch.Tensor) -> torch.Tensor:
    """Mean absolute values of (N, P, ...)."""
    return gap.abs().flatten(2).mean(-1)


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(a.flatten(2), b.flatten(2), dim=-1)


def _toneless(pictures: torch.Tensor) -> torch.Tensor:
    return pictures - pictures.mean((-2, -1), keepdim=True)


def _reduced(ref: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    size = lr.shape[-2:]
    small = F.interpolate(
        ref,
        size,
        mode="bicubic",
        antialias=True,
    )
    return small.clamp(0, 1)


def _embedded(model: CompactRefsr, lr: torch.Tensor, ref: torch.Tensor) -> np.ndarray:
    """dlib's cosine of the output without a reference and each reference."""
    network = identity_network()
    sr = to_8_bits(model.upscale(lr))
    one, other = (
        F.normalize(identity_embeddings(network, each))
        for each in (sr, ref)
    )  # fmt: skip
    return (one @ other.T).double().numpy()


def area(ratings: np.ndarray, person: np.ndarray) -> float:
    """The AUC of ratings (N, P)."""
    right = person[:, None] == np.arange(ratings.shape[1])
    wrong = ratings[~right]
    below = share_below(np.sort(wrong), ratings[right])
    return float(below.mean())


def _crossed(values: np.ndarray, people: People) -> float:
    """The AUC of values (N, P, D), weighed by one half of the people and measured on the other."""
    half = np.random.default_rng(0).permutation(len(people.ref)) % 2
    parts = []
    for which in (0, 1):
        chosen = np.flatnonzero(half == which)
        rows = half[people.place] == which
        place = np.searchsorted(chosen, people.place[rows])
        parts.append((values[rows][:, chosen], place))
    areas = [
        area(other @ compatibility.weigh(_right_first(known, owner)), place)
        for (known, owner), (other, place) in (parts, parts[::-1])
    ]
    return float(np.mean(areas))


def _right_first(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """(N, P, D) with each image's own reference in the first place."""
    places = np.arange(values.shape[1])
    others = places != person[:, None]
    order = np.argsort(others, 1, "stable")
    return np.take_along_axis(values, order[..., None], 1)
