"""The compatibility score: what tells right references from wrong ones, and what that saves.

All on validation people. First the AUC of each candidate, every image with its right reference and
those of all other people. `fitted on` says who gave the weights of several differences: one half of
the validation people (then AUC is that of the other half, both ways), or the training people. The
embedding distance is dlib's, which measures identity in evaluations: it is printed to compare, and
no score uses it.

Then the score itself on small photos that no clean bicubic made: AUC, and the shares of right and
of wrong references below MISFIT. Then what leaving out references below a score changes in PSNR and
identity: of right ones, of wrong ones, and of both given together. `pays from` is the share of
wrong references from which on it is a gain in identity, one reference given. The score is
calibrated on the same people.

    python benchmarks/compatibility.py --curated data/curated --model models/refsr/model.safetensors

The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import arena
import fits
import numpy as np
import pandas as pd
import torch

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.dataset.small_photos import WAYS
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation import image_quality
from refsr.io.paths import path_option
from refsr.models.checkpoint import load_model
from refsr.models.compact import CompactRefsr
from refsr.models.compatibility import (
    MISFIT,
    score,
)
from refsr.models.pretrained import (
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.reporting.summary import cell
from refsr.training import compatibility

RIGHT, WRONG, BOTH = "right", "wrong", "both"
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)


def main() -> None:
    """Measure, print the tables and one JSON line."""
    options = parse_options()
    torch.set_num_threads(1)
    faces = Curated(options.curated)
    model = cast(CompactRefsr, load_model(options.model))
    compatibility.calibrate(model, faces, 0)
    people = fits.validation_people(faces)
    areas = fits.candidates(model, faces, people)
    photos = small_photos(model, people)
    saved = left_out(model, people)
    print(*areas_table(areas), "", sep="\n")
    print(*photos_table(photos), "", sep="\n")
    print(*saved_table(saved), "", sep="\n")
    print(json.dumps({"areas": areas, "small_photos": photos, "left_out": saved}))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curated", type=path_option, default=Path("data/curated"))
    model = Path("models/refsr/model.safetensors")
    parser.add_argument("--model", type=path_option, default=model)
    return parser.parse_args()


@torch.inference_mode()
def small_photos(model: CompactRefsr, people: fits.People) -> dict[str, dict[str, float]]:
    """Way of refsr.dataset.small_photos -> {auc, right_out, wrong_out}."""
    result = {}
    for name, way in WAYS.items():
        _, lr = way(people.hr, model.scale)
        ref = people.ref[None].expand(len(lr), -1, -1, -1, -1)
        rated = _rated(model, lr, ref)
        places = np.arange(rated.shape[1])
        right = people.place[:, None] == places
        out = rated < MISFIT
        result[name] = {
            "auc": fits.area(rated, people.place),
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
def left_out(model: CompactRefsr, people: fits.People) -> dict[str, Any]:
    """Threshold -> what leaving out references below it changes, with intervals over people."""
    own, other = people.ref[people.place], people.ref[people.other]
    two = torch.stack([own, other], 1)
    none = _measures(model, people, None)
    right = _measures(model, people, own)
    wrong = _measures(model, people, other)
    both = _measures(model, people, two)
    outputs = {
        RIGHT: (none, right),
        WRONG: (none, wrong),
        BOTH: (none, wrong, right, both),
    }
    lr = reduce(people.hr, model.scale)
    scores = _rated(model, lr, two)
    return {str(t): _saved(outputs, scores >= t, people) for t in THRESHOLDS}


def _measures(model: CompactRefsr, people: fits.People, ref: torch.Tensor | None) -> np.ndarray:
    """PSNR and identity with these references, (N, 2)."""
    embedder = identity_network()
    sr = to_8_bits(model.upscale(reduce(people.hr, model.scale), ref))
    output, true = (identity_embeddings(embedder, each) for each in (sr, people.hr))
    psnr = image_quality.psnr(sr, people.hr)
    identity = identity_similarity(output, true)
    return torch.stack([psnr, identity], 1).double().numpy()


def _saved(
    outputs: dict[str, tuple[np.ndarray, ...]], kept: np.ndarray, people: fits.People
) -> dict[str, Any]:
    """What leaving out changes, where `kept` (N, 2) says which of right and wrong are kept.

    `outputs` are the measures (N, 2) with none, or with what is left of the references: of two,
    those with none, with the second, with the first, and with both.
    """
    right, wrong = kept.astype(int).T
    left = {RIGHT: right, WRONG: wrong, BOTH: 2 * right + wrong}
    row: dict[str, Any] = {}
    for name, made in outputs.items():
        change = np.choose(left[name][:, None], made) - made[-1]
        means = pd.DataFrame(change).groupby(people.place).mean()
        psnr, identity = (arena.interval(means[each].tolist()) for each in means)
        share = float((left[name] < len(made) - 1).mean())
        row[name] = {"out": share, "psnr": psnr, "identity": identity}
    return row | {"pays_from": _pays_from(row)}


def _pays_from(row: dict[str, Any]) -> float:
    loss, gain = (row[name]["identity"]["mean"] for name in (RIGHT, WRONG))
    if gain <= 0:
        return 1.0
    return min(1.0, max(0.0, -loss / (gain - loss)))


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
        for name in (RIGHT, WRONG, BOTH):
            psnr, identity = (row[name][key] for key in ("psnr", "identity"))
            cells = f"{cell(psnr, 3, '+'):26}{cell(identity, 4, '+')}"
            yield f"{threshold:16}{name:>10}{row[name]['out']:8.2f}  {cells}"
        yield f"{'':16}{'pays from':>10}{row['pays_from']:8.2f}"


if __name__ == "__main__":
    main()
