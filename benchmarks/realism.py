"""What a generative phase brings: from the faithful weights to the sharp ones.

Validation people with their right references, 8-bit outputs, at each `realism`:

| column | what it is |
|---|---|
| PSNR | of the outputs |
| KID | kernel distance to the true images of the same people (docs/decisions/0018) |
| pattern | of two pixels, `refsr.evaluation.realism.pattern`: more than in `true` is hatching |

    python benchmarks/realism.py --curated data/curated --model models/refsr/model.safetensors

The last line is one JSON object.
"""

import json
from typing import cast

import arena
import torch

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import reduce
from refsr.evaluation.realism import pattern, realism
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
    print(f"{len(hr)} images\nrealism  PSNR dB  KID      pattern")
    for name, row in rows.items():
        print(f"{name:9}{row['psnr']:<9.2f}{row['kid']:<9.4f}{row['pattern']:.2f}")
    print(f"true{pattern(hr):26.2f}")
    print(json.dumps({**rows, "true": {"pattern": pattern(hr)}}))


if __name__ == "__main__":
    main()
