"""Configurations become networks, or are refused by name."""

import pytest
import torch

from refsr.errors import RefsrError
from refsr.models import build, reference_config


def test_what_does_not_fit_is_refused() -> None:
    small = {"model": "refsr", "variant": "release", "hr_size": 16, "scale": 4}
    with pytest.raises(RefsrError, match="release refsr: hr_size 20 is not a multiple of 8"):
        build(small | {"hr_size": 20})
    with pytest.raises(RefsrError, match=r"hr_size 16 is not a multiple of the scale \(3\)"):
        build(small | {"scale": 3})
    with pytest.raises(RefsrError, match="mode 'photo' is not one of gaussian, lr, reference"):
        build(small | {"mode": "photo"})
    with pytest.raises(RefsrError, match="unknown option 'width'; known are: hr_size, scale, mode"):
        build(small | {"width": 64})
    with pytest.raises(
        ValueError, match="no such network: sisr photo; known are: sisr compact, refsr compact"
    ):
        build({"model": "sisr", "variant": "photo"})


@pytest.mark.parametrize("variant", ["compact", "release", "figure"])
def test_refsr_is_configured_from_its_sisr(variant: str) -> None:
    with torch.device("meta"):
        sisr = build({"model": "sisr", "variant": variant, "hr_size": 48, "scale": 4})
        refsr = build(reference_config(sisr.config))
    same = ("variant", "hr_size", "scale")
    assert refsr.config["model"] == "refsr"
    assert [refsr.config[key] for key in same] == [variant, 48, 4]
