"""How much of its gain a reference keeps when it is moved, turned, scaled or spoilt.

Validation people, each image with its right reference, changed in one way at a time. `gain` is the
paired difference to no reference, in PSNR and in identity (dlib), with its interval over people;
`kept` the share of the gain of the reference as it is. What lies outside the image is its
reflection. A reference on its side, or blurred to 12 pixels, shows hardly anything: the gain that
it keeps comes from its tone, not from the person.

    python benchmarks/moved_references.py --curated data/curated

The last line is one JSON object.
"""

import json
import math
from collections.abc import Callable, Iterator
from typing import cast

import arena
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation import image_quality
from refsr.evaluation.pairing import pairs
from refsr.evaluation.protocol import images
from refsr.models import SuperResolver
from refsr.models.checkpoint import load_model
from refsr.models.pretrained import identity_embeddings, identity_network, identity_similarity
from refsr.reporting.summary import cell
from refsr.training.pairs import moved_by

Change = Callable[[torch.Tensor], torch.Tensor]
MEASURES = ("psnr", "identity")


def placed(degrees: float = 0, scale: float = 1, share: float = 0) -> Change:
    """Images turned, scaled, and moved aside by a share of their side."""
    turn = math.radians(degrees)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    place = torch.tensor([[cos, -sin, 2 * share], [sin, cos, 2 * share]])
    return lambda x: moved_by(x, place.expand(len(x), 2, 3))


CHANGES: dict[str, Change] = {
    "as it is": lambda x: x,
    **{f"moved by {share:.0%} of its side": placed(share=share) for share in (0.03, 0.06, 0.1)},
    **{f"turned by {degrees} degrees": placed(degrees) for degrees in (5, 10, 20)},
    **{f"scaled by {scale}": placed(scale=scale) for scale in (0.8, 0.9, 1.1, 1.25)},
    "on its side": lambda x: x.rot90(1, (2, 3)),
    "blurred to 12 pixels": lambda x: enlarge(
        F.adaptive_avg_pool2d(x, 12),
        (x.shape[2], x.shape[3]),
    ),
}


def main() -> None:
    """Measure, print the table and one JSON line."""
    options = arena.model_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    faces = Curated(options.curated)
    measured = pd.concat(scores(faces, cast(SuperResolver, load_model(options.model))))
    people = {
        name: part.groupby("person")[list(MEASURES)].mean()
        for name, part in measured.groupby("change")
    }
    gains = {name: people[name] - people["none"] for name in CHANGES}
    print(table(gains))
    means = {
        name: {k: round(float(gain[k].mean()), 4) for k in MEASURES} for name, gain in gains.items()
    }
    print(json.dumps(means))


@torch.inference_mode()
def scores(faces: Curated, model: SuperResolver) -> Iterator[pd.DataFrame]:
    """A row per image and change of its reference, and one without a reference."""
    embedder = identity_network()
    chosen = pairs(faces.table, seed=0, split=arena.SPLIT)
    for start in range(0, len(chosen), 32):
        batch = chosen.iloc[start : start + 32]
        hr, ref = (images(faces, batch[name].to_numpy(), "cpu") for name in ("row", "right"))
        lr = reduce(hr, int(model.config["scale"]))
        embedding = identity_embeddings(embedder, hr)
        given = {"none": None} | {name: change(ref) for name, change in CHANGES.items()}
        for name, reference in given.items():
            sr = to_8_bits(model.upscale(lr, reference))
            identity = identity_similarity(identity_embeddings(embedder, sr), embedding)
            columns = {"psnr": image_quality.psnr(sr, hr).numpy(), "identity": identity.numpy()}
            yield pd.DataFrame(columns).assign(change=name, person=batch["person"].to_numpy())


def table(gains: dict[str, pd.DataFrame]) -> str:
    """A line per change."""
    whole = gains["as it is"].mean()
    lines = [f"{'right reference':26}{'gain, PSNR dB':26}{'kept':8}{'gain, identity':30}kept"]
    for name, gain in gains.items():
        psnr, identity = (
            cell(arena.interval(gain[key].tolist()), n, "+")
            for key, n in (("psnr", 2), ("identity", 4))
        )
        kept = gain.mean() / whole
        lines.append(f"{name:26}{psnr:26}{kept['psnr']:<8.2f}{identity:30}{kept['identity']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
