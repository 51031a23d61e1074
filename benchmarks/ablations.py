"""The compact variant with one thing changed at a time: trained alike, measured alike, one table.

Every case is the demo's parameters at `--steps`, SISR and RefSR together, but for what CASES says.
Cases whose SISR is the same share it. `none`, `wrong` and `right` are the references at hand; `over
compact` is the paired difference of PSNR with the right reference, with its interval over
validation identities. Of samples at temperature 1, `apart` is the mean difference of two in 8-bit
levels, `error/spread` 1 where they are calibrated, above 1 where they are too sure, and `active`
the share of latent units in use. dlib's network is the identity loss and also measures identity:
that line is marked. There is one seed: a difference whose interval holds 0 means nothing, another
may not last.

    python benchmarks/ablations.py --curated data/curated --steps 400 --output data/ablations

What is done is not done again as long as `--output` is kept. The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import arena
import numpy as np
import torch

from refsr.config import Loss
from refsr.dataset.curated import Curated
from refsr.io.paths import path_option
from refsr.reporting.summary import cell

REFERENCES = ("none", "wrong", "right")
SAMPLES = {"distance": "apart", "ratio": "error/spread", "active": "active"}
# title -> (the units of the latent variable, which are SISR's and RefSR's; what else of RefSR's
# parameters is changed)
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "compact": (16, {}),
    "no latent variable": (0, {}),
    "align off": (16, {"model": {"align": False}}),
    "offsets off": (16, {"model": {"offsets": False}}),
    "attention for offsets": (16, {"model": {"offsets": False, "attention": True}}),
    "attention too": (16, {"model": {"attention": True}}),
    "no wrong, no missing": (16, {"wrong_reference": 0.0, "no_reference": 0.0}),
    "20% wrong, 10% missing": (16, {"wrong_reference": 0.2}),
    "identity loss 0.1": (16, {"loss": Loss(identity_weight=0.1)}),
    "identity loss 0.1, dlib's (*)": (16, {"loss": Loss(identity_weight=0.1, identity="dlib")}),
}


def main() -> None:
    """Train, measure, print the table and one JSON line."""
    options = parse_options()
    torch.set_num_threads(1)
    faces, folder = Curated(options.curated), options.output / str(options.steps)
    results = {
        title: run(number, title, faces, folder, options.steps)
        for number, title in enumerate(CASES)
        if title in options.cases
    }
    print(table(results))
    line = {
        title: {key: arena.means(values) for key, values in scores.items()}
        for title, scores in results.items()
    }
    print(json.dumps(line))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--curated", type=path_option, default=Path("data/curated"))
    parser.add_argument(
        "--output",
        type=path_option,
        default=Path("data/ablations"),
        help="checkpoints and results, kept",
    )
    parser.add_argument("--steps", type=int, required=True, help="SISR and RefSR together")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="CASE",
        help=f"all by default: {', '.join(CASES)}".replace("%", "%%"),
    )
    options = parser.parse_args()
    options.cases = ["compact", *options.cases]
    return options


def run(number: int, title: str, faces: Curated, folder: Path, steps: int) -> dict[str, Any]:
    """Train and measure one case, unless its result is there already."""
    units, changes = CASES[title]
    done = folder / f"{number}.json"
    if not done.exists():
        sisr, refsr = arena.demo_sections(steps)
        sisr = sisr.model_copy(update={"model": sisr.model | {"latent": units}})
        first = arena.fit(sisr, faces, folder / f"sisr-{units}")
        second = arena.fit(refsr.model_copy(update=changes), faces, folder / str(number), first)
        scores = arena.measure(faces, second, REFERENCES)
        done.write_text(json.dumps(scores | {"samples": arena.measure_samples(faces, second)}))
    result: dict[str, Any] = json.loads(done.read_text())
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line per case."""
    titles = "".join(f"{reference:>8}" for reference in REFERENCES)
    of_samples = "".join(f"{title:>14}" for title in SAMPLES.values())
    lines = [
        f"{'':26}{'PSNR dB':>24}{'identity':>24}{'of samples':>42}  over compact, PSNR dB",
        f"{'':26}{titles}{titles}{of_samples}",
    ]
    base = np.array(results["compact"]["right"]["psnr"])
    for title, scores in results.items():
        gain = np.array(scores["right"]["psnr"]) - base
        over = "" if title == "compact" else cell(arena.interval(gain.tolist()), 2, "+")
        lines.append(f"{title:26}{_columns(scores)}  {over}".rstrip())
    return "\n".join([*lines, "(*) trained by the network that judges identity here"])


def _columns(scores: dict[str, Any]) -> str:
    rows = [scores[reference] for reference in REFERENCES]
    psnr = "".join(f"{np.mean(row['psnr']):8.2f}" for row in rows)
    identity = "".join(f"{np.mean(row['identity']):8.4f}" for row in rows)
    drawn = "".join(
        f"{scores['samples'][key]:14.2f}" if scores["samples"] else f"{'':14}" for key in SAMPLES
    )
    return f"{psnr}{identity}{drawn}"


if __name__ == "__main__":
    main()
