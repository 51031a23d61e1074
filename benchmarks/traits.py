"""Which traits of a face come over: recall of what the renderer gave each person.

A small network, the probe, learns from the true images of training people whether a person has each
trait of TRAITS. It sees no output of a model, and no model sees it. Its threshold of a trait is
fixed on the true images of the people measured: it takes FALSE of the images of people without the
trait for it. `recall` is the share of images of people with the trait in which the probe then sees
it: of true images as a ceiling, of bicubic, and of RefSR with no, a wrong and the right reference;
`false` the share of the others. What is not learned from true images can tell nothing: see the
recall of `true`. The wrong person may have the same trait. Intervals are over people.

    python benchmarks/traits.py --curated data/curated --model models/refsr/model.safetensors

Works on the rendered set alone, with the `synthesize` section that rendered it (`--params`).
The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Callable
from typing import cast

import arena
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from refsr.config import Synthesize
from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import images
from refsr.io.paths import path_option
from refsr.models import SuperResolver
from refsr.models.checkpoint import load_model
from refsr.params import load_section
from refsr.reporting.summary import cell
from refsr.synthetic.people import person
from refsr.synthetic.plan import plan
from refsr.synthetic.traits import Person

_MEDIAN_BROWS = float(np.median([person(seed).brows.thickness for seed in range(200)]))
TRAITS: dict[str, Callable[[Person], bool]] = {
    "glasses": lambda who: who.glasses is not None,
    "light eyes": lambda who: sum(who.eyes.iris) > 320,
    "thick brows": lambda who: who.brows.thickness > _MEDIAN_BROWS,
    "freckles": lambda who: who.freckles > 0,
    "moles, two or more": lambda who: sum(mark.kind == "mole" for mark in who.marks) > 1,
    "beard": lambda who: who.hair.beard not in ("none", "stubble"),
}
FALSE = 0.1
ROWS = ("true", "bicubic", "none", "wrong", "right")
EPOCHS, BATCH = 15, 64


class Probe(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, traits)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.5))
        self.say = nn.Linear(16 * widths[-1], len(TRAITS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.say(self.see(x - 0.5))
        return logits


def main() -> None:
    """Train the probe, measure, print the table and one JSON line."""
    options = parse_options()
    faces = Curated(options.curated)
    traits = traits_of(faces.table, cast(Synthesize, load_section(options.params, "synthesize")))
    probe = trained(faces, traits)
    chosen = pairs(faces.table, seed=0, split=options.split)
    model = cast(SuperResolver, load_model(options.model))
    scores = measured(faces, model, probe, chosen)
    result = recalls(scores, traits[chosen["row"].to_numpy()], chosen["person"].to_numpy())
    print(table(result))
    means = {
        name: {row: round(at["recall"]["mean"], 3) for row, at in rows.items()}
        for name, rows in result.items()
    }
    print(json.dumps(means))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = arena.model_parser(__doc__)
    parser.add_argument("--params", type=path_option, default=arena.PARAMS)
    parser.add_argument("--split", choices=["validation", "test"], default=arena.SPLIT)
    return parser.parse_args()


def traits_of(manifest: pd.DataFrame, params: Synthesize) -> np.ndarray:
    """Which traits the person of each row has: (N, traits) bool."""
    seeds = {folder.identity: folder.person for folder in plan(params)}
    unknown = set(manifest["identity"]) - seeds.keys()
    if unknown:
        raise SystemExit(f"{min(unknown)}: not rendered by these parameters; name theirs: --params")
    has = {
        name: [of(person(seeds[name])) for of in TRAITS.values()]
        for name in set(manifest["identity"])
    }
    return np.array([has[name] for name in manifest["identity"]])


def trained(faces: Curated, traits: np.ndarray) -> nn.Module:
    """A probe that learned from the true images of training people, moved and mirrored."""
    torch.manual_seed(0)
    rows, rng = faces.split("train"), np.random.default_rng(0)
    probe, expected = Probe(), torch.from_numpy(traits).float()
    optimizer = torch.optim.AdamW(probe.parameters(), 2e-3, weight_decay=0.05)
    steps = EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for some in np.array_split(rng.permutation(rows), steps // EPOCHS):
            x = moved(images(faces, some, "cpu"), rng)
            loss = F.binary_cross_entropy_with_logits(probe(x), expected[some])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return probe.eval()


def moved(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The images moved by up to 3 pixels, half of the time mirrored, brighter or darker."""
    down, right = rng.integers(0, 7, 2)
    padded = F.pad(x, (3, 3, 3, 3), mode="reflect")
    x = padded[:, :, down : down + x.shape[2], right : right + x.shape[3]]
    x = x.flip(3) if rng.random() < 0.5 else x
    return (x * rng.uniform(0.85, 1.15)).clamp(0, 1)


@torch.inference_mode()
def measured(
    faces: Curated,
    model: SuperResolver,
    probe: nn.Module,
    chosen: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """Row of the table -> logits (N, traits) of its images."""
    logits: dict[str, list[torch.Tensor]] = {row: [] for row in ROWS}
    for start in range(0, len(chosen), 32):
        batch = chosen.iloc[start : start + 32]
        hr = images(faces, batch["row"].to_numpy(), "cpu")
        lr = reduce(hr, int(model.config["scale"]))
        shown = {"true": hr, "bicubic": to_8_bits(enlarge(lr, (hr.shape[-2], hr.shape[-1])))}
        for name in ("none", "wrong", "right"):
            ref = None if name == "none" else images(faces, batch[name].to_numpy(), "cpu")
            shown[name] = to_8_bits(model.upscale(lr, ref))
        for name, pictures in shown.items():
            logits[name].append(probe(pictures))
    return {name: torch.cat(parts).numpy() for name, parts in logits.items()}


def recalls(
    scores: dict[str, np.ndarray], has: np.ndarray, people: np.ndarray
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Trait -> row -> {"recall", "false"}, each with its interval over people."""
    result = {}
    for number, name in enumerate(TRAITS):
        with_it = has[:, number]
        limit = np.quantile(scores["true"][~with_it, number], 1 - FALSE)
        result[name] = {
            row: {
                "recall": _share(scores[row][with_it, number] > limit, people[with_it]),
                "false": _share(scores[row][~with_it, number] > limit, people[~with_it]),
            }
            for row in ROWS
        }
    return result


def _share(seen: np.ndarray, people: np.ndarray) -> dict[str, float]:
    return arena.interval(pd.Series(seen).groupby(people).mean().tolist())


def table(result: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Recall of each trait, and after a slash what is taken for it."""
    lines = [f"{'recall / false':20}" + "".join(f"{row:>26}" for row in ROWS)]
    for name, rows in result.items():
        cells = (f"{cell(at['recall'], 2)} / {at['false']['mean']:.2f}" for at in rows.values())
        lines.append(f"{name:20}" + "".join(f"{text:>26}" for text in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
