"""The compatibility score: what tells right references from wrong ones, and what that saves.

All on validation people. First the AUC of each candidate, every image with its right reference and
those of all other people. `fitted on` says who gave the weights of several differences: one half of
the validation people (then AUC is that of the other half, both ways), or the training people. The
embedding distance is dlib's, which measures identity in evaluations: it is printed to compare, and
no score uses it.

Then the score itself on small photos that no clean bicubic made: AUC, and the shares of right and
of wrong references below MISFIT. Then what leaving out references below a score changes, of right
and of wrong ones, PSNR and identity; `pays from` is the share of wrong references from which on
it is a gain in identity. The score is calibrated on the same people.

    python benchmarks/compatibility.py --curated data/curated --model models/refsr/model.safetensors

The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import arena
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.small_photos import WAYS
from refsr.evaluation import image_quality
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import images, to_8_bits
from refsr.io.paths import path_option
from refsr.models.checkpoint import load_model
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import CELLS, MISFIT, differences_of, score
from refsr.models.pretrained import identity_embeddings, identity_network, identity_similarity
from refsr.reporting.summary import cell
from refsr.training import compatibility

MIDDLE = slice(CELLS // 4, -CELLS // 4)
CELL = "differences of 8x8 cells, logistic"
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)


class People(NamedTuple):
    """Validation people: their images, and a reference of each."""

    hr: torch.Tensor  # (N, 3, H, W)
    ref: torch.Tensor  # (P, 3, H, W)
    place: np.ndarray  # (N,), where each image's own reference is
    other: np.ndarray  # (N,), where its wrong one is


def main() -> None:
    """Measure, print the tables and one JSON line."""
    options = parse_options()
    torch.set_num_threads(1)
    faces = Curated(options.curated)
    model = cast(CompactRefsr, load_model(options.model))
    compatibility.calibrate(model, faces, 0)
    people = validation_people(faces)
    areas = candidates(model, faces, people)
    photos, saved = small_photos(model, people), left_out(model, people)
    for lines in (areas_table(areas), photos_table(photos), saved_table(saved)):
        print("\n".join([*lines, ""]))
    numbers = {title: area for title, (_, area) in areas.items()}
    print(json.dumps({"auc": numbers, "small_photos": photos, "left_out": saved}))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curated", type=path_option, default=Path("data/curated"))
    model = Path("models/refsr/model.safetensors")
    parser.add_argument("--model", type=path_option, default=model)
    return parser.parse_args()


def validation_people(faces: Curated) -> People:
    """The images and references that the protocol takes."""
    chosen = pairs(faces.table, seed=0, split=arena.SPLIT)
    own = chosen.drop_duplicates("person")
    place = pd.Series(range(len(own)), index=own["person"])
    hr, ref = (images(faces, each.to_numpy(), "cpu") for each in (chosen["row"], own["right"]))
    whose = (place[chosen[key]].to_numpy(copy=True) for key in ("person", "wrong_person"))
    return People(hr, ref, *whose)


@torch.inference_mode()
def candidates(model: CompactRefsr, faces: Curated, people: People) -> dict[str, tuple[str, float]]:
    """Title -> (whose pairs gave its weights, AUC)."""
    lr, place = reduce(people.hr, model.scale), people.place
    laid = torch.cat([model.aligned(each[None], people.ref[None]) for each in lr])
    single = _single(model, lr, people.ref, laid)
    result = {title: ("", _area(-value, place)) for title, value in single.items()}
    result["embedding distance (dlib)"] = "", _area(_embedded(model, lr, people.ref), place)
    cells = differences_of(lr, laid).numpy().astype(np.float64)
    several = {"all of the above but dlib's": np.stack(list(single.values()), -1), CELL: cells}
    for title, values in several.items():
        result[title] = "other half", _crossed(values, people)
    drawn = compatibility.draw_pairs(faces, "train", 0)
    assert drawn is not None
    train = compatibility.measured(model, faces, drawn)
    third = train.shape[-1] // 3
    for title, kept in {
        f"{CELL}, brightness": slice(third),
        f"{CELL}: the score": slice(None),
    }.items():
        rated = cells[..., kept] @ compatibility.weigh(train[..., kept])
        result[title] = "training", _area(rated, place)
    return result


def _single(
    model: CompactRefsr, lr: torch.Tensor, ref: torch.Tensor, laid: torch.Tensor
) -> dict[str, np.ndarray]:
    """Title -> how far each reference is from each image, (N, P): one number of a pair."""
    small = _reduced(laid.flatten(0, 1), lr).reshape(*laid.shape[:3], *lr.shape[-2:])
    gap, unlaid = small - lr[:, None], _reduced(ref, lr) - lr[:, None]
    tone = gap.mean((-2, -1), keepdim=True)
    cells = differences_of(lr, laid).unflatten(-1, (3, -1))
    here = model.encode(lr)[:, None].flatten(2)
    there = torch.stack([model.encode(each) for each in small]).flatten(2)
    far = {
        "mean difference": gap.abs().mean((2, 3, 4)),
        "mean difference of the middle": gap[..., MIDDLE, MIDDLE].abs().mean((2, 3, 4)),
        "mean difference in brightness": cells[:, :, 0].mean(-1),
        "mean difference in colour": cells[:, :, 1:].mean((-2, -1)),
        "mean difference without the mean tone": (gap - tone).abs().mean((2, 3, 4)),
        "difference of the mean tone": tone.abs().mean((2, 3, 4)),
        "mean difference, reference not laid": unlaid.abs().mean((2, 3, 4)),
        "correlation": -_correlation(small, lr[:, None]),
        "cosine of the trunk's features": -F.cosine_similarity(here, there, dim=-1),
    }
    return {title: value.double().numpy() for title, value in far.items()}


def _reduced(ref: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    return F.interpolate(ref, lr.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)


def _correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    a, b = (each - each.mean((-2, -1), keepdim=True) for each in (first, second))
    return F.cosine_similarity(a.flatten(2), b.expand_as(a).flatten(2), dim=-1)


def _embedded(model: CompactRefsr, lr: torch.Tensor, ref: torch.Tensor) -> np.ndarray:
    """dlib's cosine of the output without a reference and each reference."""
    network, outputs = identity_network(), to_8_bits(model.upscale(lr))
    one, other = (F.normalize(identity_embeddings(network, each)) for each in (outputs, ref))
    return (one @ other.T).double().numpy()


def _area(ratings: np.ndarray, person: np.ndarray) -> float:
    """The AUC of ratings (N, P)."""
    right = person[:, None] == np.arange(ratings.shape[1])
    wrong = ratings[~right]
    return float(np.mean([(wrong < r).mean() + (wrong == r).mean() / 2 for r in ratings[right]]))


def _crossed(values: np.ndarray, people: People) -> float:
    """The AUC of values (N, P, D), weighed by one half of the people and measured on the other."""
    half = np.random.default_rng(0).permutation(len(people.ref)) % 2
    parts = []
    for which in (0, 1):
        chosen, rows = np.flatnonzero(half == which), np.flatnonzero(half[people.place] == which)
        place = np.searchsorted(chosen, people.place[rows])
        parts.append((values[rows][:, chosen], place))
    areas = [
        _area(other @ compatibility.weigh(_right_first(known, owner)), place)
        for (known, owner), (other, place) in (parts, parts[::-1])
    ]
    return float(np.mean(areas))


def _right_first(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """(N, P, D) with each image's own reference in the first place."""
    order = np.argsort(np.arange(values.shape[1]) != person[:, None], axis=1, kind="stable")
    return np.take_along_axis(values, order[..., None], 1)


@torch.inference_mode()
def small_photos(model: CompactRefsr, people: People) -> dict[str, dict[str, float]]:
    """Way of refsr.dataset.small_photos -> {auc, right_out, wrong_out}."""
    result = {}
    for name, way in WAYS.items():
        _, lr = way(people.hr, model.scale)
        rated = _rated(model, lr, people.ref.expand(len(lr), *people.ref.shape))
        right = people.place[:, None] == np.arange(rated.shape[1])
        out = rated < MISFIT
        result[name] = {
            "auc": _area(rated, people.place),
            "right_out": float(out[right].mean()),
            "wrong_out": float(out[~right].mean()),
        }
    return result


def _rated(model: CompactRefsr, lr: torch.Tensor, ref: torch.Tensor) -> np.ndarray:
    """The scores (N, P) of references (N, P, 3, H, W)."""
    pieces = zip(lr.split(16), ref.split(16), strict=True)
    scores = [score(model, *piece) for piece in pieces]
    return torch.cat([each for each in scores if each is not None]).numpy()


@torch.inference_mode()
def left_out(model: CompactRefsr, people: People) -> dict[str, Any]:
    """Threshold -> what leaving out references below it changes, with intervals over people."""
    embedder, lr = identity_network(), reduce(people.hr, model.scale)
    true = identity_embeddings(embedder, people.hr)

    def measured(ref: torch.Tensor | None) -> np.ndarray:
        sr = to_8_bits(model.upscale(lr, ref))
        identity = identity_similarity(identity_embeddings(embedder, sr), true)
        psnr = image_quality.psnr(sr, people.hr)
        return torch.stack([psnr, identity], 1).double().numpy()

    none, rated = measured(None), {}
    for name, place in {"right": people.place, "wrong": people.other}.items():
        ref = people.ref[place]
        rated[name] = _rated(model, lr, ref[:, None])[:, 0], none - measured(ref)
    return {str(threshold): _saved(rated, people, threshold) for threshold in THRESHOLDS}


def _saved(
    rated: dict[str, tuple[np.ndarray, np.ndarray]], people: People, threshold: float
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, (scores, change) in rated.items():
        out = scores < threshold
        means = pd.DataFrame(change * out[:, None]).groupby(people.place).mean()
        psnr, identity = (arena.interval(means[column].tolist()) for column in means)
        row[name] = {"out": float(out.mean()), "psnr": psnr, "identity": identity}
    loss, gain = (row[name]["identity"]["mean"] for name in ("right", "wrong"))
    row["pays_from"] = min(1.0, max(0.0, -loss / (gain - loss))) if gain > 0 else 1.0
    return row


def areas_table(areas: dict[str, tuple[str, float]]) -> Iterator[str]:
    """A line per candidate."""
    yield f"{'right against wrong references':50}{'fitted on':>12}{'AUC':>8}"
    for title, (fitted, area) in areas.items():
        yield f"{title:50}{fitted:>12}{area:8.3f}"


def photos_table(photos: dict[str, dict[str, float]]) -> Iterator[str]:
    """A line per way in which small photos are made."""
    yield f"{'small photos':20}{'AUC':>8}{f'right below {MISFIT}':>20}{f'wrong below {MISFIT}':>20}"
    for way, row in photos.items():
        yield f"{way:20}{row['auc']:8.3f}{row['right_out']:20.2f}{row['wrong_out']:20.2f}"


def saved_table(saved: dict[str, Any]) -> Iterator[str]:
    """Lines per threshold and kind of reference."""
    yield f"{'left out below':16}{'reference':>10}{'share':>8}  {'PSNR dB':26}identity"
    for threshold, row in saved.items():
        for name in ("right", "wrong"):
            psnr, identity = (row[name][key] for key in ("psnr", "identity"))
            cells = f"{cell(psnr, 3, '+'):26}{cell(identity, 4, '+')}"
            yield f"{threshold:16}{name:>10}{row[name]['out']:8.2f}  {cells}"
        yield f"{'':16}{'pays from':>10}{row['pays_from']:8.2f}"


if __name__ == "__main__":
    main()
