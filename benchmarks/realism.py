"""What a generative phase brings: from the faithful weights to the sharp ones.

Validation people with their right references, 8-bit outputs, at each `realism`:

| column | what it is |
|---|---|
| PSNR | of the outputs |
| KID | kernel distance to the true images of the same people (docs/decisions/0018) |
| pattern | root mean square of a chequered pattern of two pixels, in 8-bit steps |

Of the pattern only what repeats over eight pixels counts, which noise and edges hardly do. Outputs
that have more of it than the true images (`true`) show hatching.

    python benchmarks/realism.py --curated data/curated --model models/refsr/model.safetensors

The last line is one JSON object.
"""

import json
from typing import cast

import arena
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.evaluation.image_quality import to_8_bits
from refsr.evaluation.realism import realism
from refsr.models import SuperResolver
from refsr.models.checkpoint import load_model
from refsr.training.pictures import fixed_faces

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST = 400  # images


def main() -> None:
    """Measure, print the table and one JSON line."""
    options = arena.model_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    networks = {
        f"{step:g}": cast(SuperResolver, load_model(options.model, "cpu", step)) for step in STEPS
    }
    hr, ref = fixed_faces(Curated(options.curated), MOST, MOST)
    lr = reduce(hr, int(networks["0"].config["scale"]))
    rows = realism(networks, hr, lr, ref, seed=0)
    for name, network in networks.items():
        rows[name]["pattern"] = pattern(restored(network, lr, ref))
    print(f"{len(hr)} images\nrealism  PSNR dB  KID      pattern")
    for name, row in rows.items():
        print(f"{name:9}{row['psnr']:<9.2f}{row['kid']:<9.4f}{row['pattern']:.2f}")
    print(f"true{pattern(hr):26.2f}")
    print(json.dumps({**rows, "true": {"pattern": pattern(hr)}}))


@torch.inference_mode()
def restored(network: SuperResolver, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    """LR (N, 3, h, w) with a reference each -> 8-bit outputs (N, 3, H, W) in [0, 1]."""
    parts = zip(lr.split(16), ref.split(16), strict=True)
    return torch.cat([to_8_bits(network.upscale(small, known)) for small, known in parts])


def pattern(images: torch.Tensor) -> float:
    """Images (N, 3, H, W) in [0, 1] -> see above."""
    grey = images.mean(1, keepdim=True)
    kernel = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]]) / 4
    repeated = F.avg_pool2d(F.conv2d(grey, kernel, stride=2), 4)
    return float(255 * repeated.square().mean().sqrt())


if __name__ == "__main__":
    main()
