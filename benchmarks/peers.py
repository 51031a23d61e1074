"""The variants, rivals and peers on the same data and loss, for the same steps or time; one table.

Batches are of one size; time is the processor's.

| model | what it is |
|---|---|
| edsr | EDSR-baseline at 8x (benchmarks/edsr.py): single images |
| sisr | the single-image network of compact, for all the steps |
| sisr_equal | the same, so wide that it has the arithmetic of compact with a reference |
| masa | matching of patches after MASA-SR and C2-Matching (benchmarks/masa.py), as the next |
| release, figure | the paper's networks, SISR first and RefSR started from it |
| compact | our networks, the same way |

All go through the training loop of the project with the demo's parameters: data, batches, loss,
optimiser, averaging. What differs is RATES and the size of the compact network, which is the
demo's. Of a pair of networks SISR has the first 3/22 of the steps and RefSR the rest, as in the
demo. Every model is then measured as the protocol does: on 8-bit outputs of validation people,
with the right reference where it takes one, intervals over identities. `MMACs` are the millions of
multiply-accumulates of one output. `s/step` is the time of one processor. With
`--seconds` every model trains for as many steps as take it that long, by its first steps.

    python benchmarks/peers.py --curated data/curated --steps 200 --output data/peers
    python benchmarks/peers.py --curated data/curated --seconds 300 --output data/peers-seconds

A model whose training was killed goes on, one that is done is not trained again as long as
`--output` is kept. The last line is one JSON object.
"""

import argparse
import json
import time
from functools import cache
from pathlib import Path
from typing import Any, cast

import arena
import torch
from torch import nn

from refsr.config import Training
from refsr.dataset.curated import Curated
from refsr.io.paths import path_option
from refsr.models import NETWORKS, SuperResolver, build, reference_config
from refsr.models.describe import count
from refsr.reporting.summary import cell
from refsr.variants import DEFAULT, VARIANTS, Variant

MODELS = ("edsr", "sisr", "sisr_equal", "masa", "release", "figure", "compact")
SINGLE = ("edsr", "sisr", "sisr_equal")  # no reference
PEERS = {  # beside this file
    "edsr": Variant("edsr", "EdsrBaseline", "EdsrBaseline"),
    "masa": Variant("masa", "MasaSisr", "MasaRefsr"),
}
# The others have the demo's, at which release diverges; of 1e-4 (the paper's, for far longer), 3e-4
# and 1e-3 this was the best for release over its first steps.
RATES = {"release": 3e-4, "figure": 3e-4}
KINDS = ("sisr", "refsr")
COLUMNS = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 3), "identity": ("identity", 4)}


def main() -> None:
    """Train, measure, print the table and one JSON line."""
    options = parse_options()
    add_peers()
    torch.set_num_threads(1)
    faces = Curated(options.curated)
    results: dict[str, dict[str, Any]] = {
        "bicubic": {"scores": arena.measure(faces, None)["right"]}
    }
    for name in options.models:
        results[name] = run(name, faces, options)
    print(table(results))
    print(json.dumps({name: summary(result) for name, result in results.items()}))


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
        default=Path("data/peers"),
        help="checkpoints and results, kept",
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="of each model, SISR and RefSR together")
    length.add_argument(
        "--seconds",
        type=float,
        help="processor seconds of each model, SISR and RefSR together",
    )
    return parser.parse_args()


def add_peers() -> None:
    """Make the peers known as variants are."""
    VARIANTS.update(PEERS)
    for name, peer in PEERS.items():
        NETWORKS.update({(kind, name): (peer.module, getattr(peer, kind)) for kind in KINDS})


def run(name: str, faces: Curated, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one model, unless its result is there already."""
    folder = options.output / name
    done = folder / "result.json"
    asked = {"asked_steps": options.steps, "asked_seconds": options.seconds}
    if not done.exists():
        done.write_text(json.dumps({"asked": asked} | _trained(name, faces, options, folder)))
    result: dict[str, Any] = json.loads(done.read_text())
    if result.pop("asked") != asked:
        raise SystemExit(f"{done}: of another length; name another --output")
    return result


def _trained(
    name: str, faces: Curated, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """The costs and the scores of one model."""
    cost = step_cost(name, faces)
    steps = options.steps or max(2, round(options.seconds / cost))
    start, checkpoint = time.process_time(), None
    for number, params in enumerate(stages(name, steps)):
        checkpoint = arena.fit(params, faces, folder / str(number), checkpoint)
    costs = {"steps": steps, "seconds_per_step": cost, "seconds": time.process_time() - start}
    scores = arena.measure(faces, checkpoint)["right"]
    return costs | size(networks(name, faces)[-1]) | {"scores": scores}


def stages(name: str, steps: int) -> list[Training]:
    """The parameters of each network of a model: the demo's, at this length."""
    rate = {"learning_rate": RATES[name]} if name in RATES else {}
    sisr, refsr = arena.demo_sections(steps, **rate)
    if name in VARIANTS and name != DEFAULT:
        sisr = sisr.model_copy(update={"variant": name, "model": {}})
        refsr = refsr.model_copy(update={"model": {}})
    if name == "sisr_equal":
        sisr = sisr.model_copy(update={"model": sisr.model | {"width": equal_width()}})
    if name in SINGLE:
        whole = {"steps": steps, "warm_start_step": steps, "schedule": "decay"}
        return [sisr.model_copy(update=whole)]
    return [sisr, refsr]


@cache
def equal_width() -> int:
    """The least width at which the single-image network has the arithmetic of compact's RefSR."""
    sisr, refsr = arena.demo_sections(100)
    size = {"variant": DEFAULT, "hr_size": 64, "scale": sisr.scale}
    model = cast(dict[str, Any], sisr.model)
    aim = count(size | {"model": "refsr"} | model | refsr.model)["macs"]
    widths = range(model["width"], 10 * model["width"], 4)
    single = size | {"model": "sisr"} | model
    return next(width for width in widths if count(single | {"width": width})["macs"] >= aim)


def size(network: nn.Module) -> dict[str, int]:
    """Parameters of a network, and the multiply-accumulates of one of its outputs."""
    parameters = sum(p.numel() for p in network.parameters())
    macs = count(cast(SuperResolver, network).config)["macs"]
    return {"parameters": parameters, "macs": macs}


def networks(name: str, faces: Curated) -> list[nn.Module]:
    """The networks of a model, as they are before any training."""
    first, *rest = stages(name, 100)
    sisr = arena.network(first, faces, None)
    return [sisr, *(build(reference_config(cast(SuperResolver, sisr).config)) for _ in rest)]


def step_cost(name: str, faces: Curated) -> float:
    """Processor seconds of a step over the whole training, of which SISR has its share."""
    each = zip(networks(name, faces), stages(name, 100), strict=True)
    costs = [arena.seconds_per_step(network, params, faces) for network, params in each]
    share = arena.SHARE_OF_SISR
    return costs[0] if len(costs) == 1 else share * costs[0] + (1 - share) * costs[1]


def table(results: dict[str, dict[str, Any]]) -> str:
    """A line per model."""
    people = len(results["bicubic"]["scores"]["psnr"])
    titles = "".join(f"{title:26}" for title, _ in COLUMNS.values()).rstrip()
    lines = [
        f"{people} validation identities; mean [95% interval over identities]",
        f"{'':10}{'parameters':>12}{'MMACs':>8}{'steps':>8}{'s/step':>8}{'seconds':>9}  {titles}",
    ]
    for name, result in results.items():
        cells = [
            cell(arena.interval(result["scores"][key]), digits)
            for key, (_, digits) in COLUMNS.items()
        ]
        lines.append(
            f"{name:10}{_costs(result)}  " + "".join(f"{text:26}" for text in cells).rstrip()
        )
    return "\n".join(lines)


def _costs(result: dict[str, Any]) -> str:
    """The columns before the scores; bicubic has none."""
    if "steps" not in result:
        return " " * 45
    counts = f"{result['parameters']:12,}{result['macs'] / 1e6:8.0f}{result['steps']:8}"
    return counts + "{seconds_per_step:8.2f}{seconds:9.0f}".format(**result)


def summary(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of the table."""
    return arena.means(result["scores"]) | {
        k: round(value, 3) for k, value in result.items() if k != "scores"
    }


if __name__ == "__main__":
    main()
