"""What a variant is made of, against counts of the released files and of one's own arithmetic."""

import json
from math import prod

import pytest
import torch

from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.describe import describe
from refsr.variants import VARIANTS


def test_release_at_128_pixels() -> None:
    made_of = describe("release", 128)
    sisr, refsr = made_of["sisr"], made_of["refsr"]
    assert (sisr["parameters"], sisr["parameters_deployed"]) == (199_922_832, 50_311_824)
    assert (refsr["parameters"], refsr["parameters_deployed"]) == (198_667_408, 198_667_408)
    assert refsr["layers"]["latent.7"] == [4096, 32768]
    assert sisr["layers"]["latent.0"] == [256, 1024, 3, 3]


def test_macs_are_weights_times_the_cells_they_are_applied_at() -> None:
    """A deconvolution is applied at each cell of its input, a convolution at each of its output."""
    refsr = describe("release", 128)["refsr"]
    cells = {
        "trunk": [128, 128, 64, 64, 32, 32, 16, 16],
        "skip": [16, 16],
        "latent": [16, 16, 16, 1, 1, 1],
    }
    cells |= {"generator": [1, 1], "decoder": [1, 1, 1, 16], "output": [128]}
    cells |= {f"ubp.{i}": [16 << i, 16 << i, 16 << i, 16 << i, 32 << i] for i in range(3)}
    total = 0
    for part, sides in cells.items():
        weights = [
            shape
            for name, shape in refsr["layers"].items()
            if name.startswith(part) and len(shape) > 1
        ]
        assert len(weights) == len(sides)
        total += sum(prod(shape) * side**2 for shape, side in zip(weights, sides, strict=True))
    assert refsr["macs"] == total


@pytest.mark.parametrize("variant", [*VARIANTS, "default"])
def test_every_variant_is_described_as_json(variant: str) -> None:
    made_of = json.loads(json.dumps(describe(variant, 64, scale=4)))
    for model in ("sisr", "refsr"):
        with torch.device("meta"):
            network = build(
                {"model": model, "variant": made_of["variant"], "hr_size": 64, "scale": 4}
            )
        assert made_of[model]["parameters"] == sum(p.numel() for p in network.parameters())
        assert 0 < made_of[model]["parameters_deployed"] <= made_of[model]["parameters"]
    assert made_of["sisr"]["parameters_deployed"] < made_of["sisr"]["parameters"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photo", 128), "no variant 'photo'; known are: compact, release, figure"),
        (("release", 100), "HR of 100 pixels at 8x"),
        (("default", 64, 3), "HR of 64 pixels at 3x"),
        (("release", 0), "HR of 0 pixels"),
        (("release", 128, 0), "at 0x"),
    ],
)
def test_what_cannot_be_described_is_refused(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(RefsrError, match=message):
        describe(*arguments)
