"""What sections ask of each other is one message when the file is read, with both keys,
values and a way out.
"""

import importlib
import inspect
import itertools
import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from refsr.config import TrainSisr
from refsr.consistency import COMPACT
from refsr.errors import RefsrError
from refsr.models import NETWORKS, build, vae
from refsr.models.compact import CompactRefsr
from refsr.parameter_types import CHOICES, FLAGS, MODEL_OPTIONS, SET_ELSEWHERE, heads_fault
from refsr.params import load_section
from refsr.variants import VARIANTS

ROOT = Path(__file__).parents[2]
STAGES = ("synthesize", "curate", "validate", "train_sisr", "register")
FAULTS = [
    (
        "curate: {hr_size: 100}\ntrain_sisr: {scale: 8}",
        (
            "curate.hr_size: 100 is not a multiple of train_sisr.scale: 8; "
            "set .* to 96 or 104, or .*scale to 4$"
        ),
    ),
    (
        "curate: {hr_size: 33}\ntrain_sisr: {scale: 16}",
        "hr_size: 33 .*train_sisr.scale: 16; set .* to 32 or 48$",
    ),
    (
        "curate: {hr_size: 36}\ntrain_sisr: {scale: 4, variant: figure}",
        "hr_size: 36 .* 8, which .*variant: figure",
    ),
    (
        "curate: {hr_size: 16}\nevaluate: {}",
        "curate.hr_size: 16 is too small .* set curate.hr_size to 32 or more",
    ),
    (
        "train_sisr: {model: {widht: 8}}",
        "train_sisr.model.widht: 8 is not an option .* known are: width, blocks, latent",
    ),
    (
        "train_sisr: {variant: release, model: {width: 8}}",
        "train_sisr.model.width: 8 .*variant: release;",
    ),
    (
        "train_sisr: {variant: figure}\ntrain_refsr: {model: {heads: 4}}",
        "train_refsr.model.heads: 4 .*variant: figure;",
    ),
    (
        "train_sisr: {}\ntrain_refsr: {model: {attention: true, heads: 5}}",
        "heads: 5 heads do not fit width 64; set heads to one of 1, 2",
    ),
    (
        "train_sisr: {model: {width: 5}}\ntrain_refsr: {model: {attention: true}}",
        "heads: 4 heads do not fit width 5",
    ),
    ("train_sisr: {model: {scale: 4}}", "option scale .* set train_sisr.scale"),
    ("train_refsr: {model: {hr_size: 64}}", "option hr_size .* set curate.hr_size"),
    ("train_refsr: {model: {attention: 1}}", "option attention: true or false is expected"),
    (
        "train_refsr: {model: {mode: guess}}",
        "option mode 'guess' is not one of gaussian, lr, reference",
    ),
    (
        "curate: {train_identities: 3}\nvalidate: {min_train_identities: 4}",
        (
            "curate.train_identities: 3 is less than validate.min_train_identities: 4; "
            "set curate.train_identities to 4"
        ),
    ),
    ("curate: {test_identities: 1}\nevaluate: {}", "curate.test_identities: 1 .*`evaluate` needs"),
    (
        "curate: {validation_identities: 1}\nevaluate: {split: validation}",
        "curate.validation_identities: 1 .*`evaluate` needs",
    ),
    ("curate: {identities: [n000001]}", "curate.identities: names 1, but the splits need [23] "),
    (
        "curate: {identities: [n000001, n000001, n000002]}\nvalidate: {}\nevaluate: {}",
        "names 2, but .* need 4",
    ),
    (
        "curate: {train_images: {min: 1, max: 1}}\ntrain_refsr: {}",
        "curate.train_images.max: 1 leaves no image",
    ),
    (
        "synthesize: {views: 2}\ncurate: {train_images: {min: 5, max: 9}}",
        "synthesize.views: 2 .*train_images.min: 5",
    ),
    (
        "synthesize: {views: 3}\ncurate: {test_images: {min: 3, max: 4}}",
        "synthesize.views: 3 .*test_images.min: 3",
    ),
    (
        "synthesize: {min_size: 32, max_size: 60}\ncurate: {min_box: 90}",
        "max_size: 60 is below curate.min_box: 90",
    ),
    (
        "synthesize: {test_identities: 1}\ncurate: {}\nevaluate: {}",
        "synthesize.test_identities: 1 is less",
    ),
    ("evaluate: {compare: {refsr: a}}", "refsr is the name of a model or condition"),
    ("evaluate: {compare: {ref: a}}", "ref is the name of a model or condition"),
    ("train_sisr: {steps: 5, warm_start_step: 6}", "warm_start_step 6 is after the last step 5"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_between_sections_ends_every_stage(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    for stage in STAGES:
        if stage == "curate" and "curate" not in text:
            continue  # its defaults would bring rules of their own
        with pytest.raises(RefsrError) as caught:
            load_section(path, stage)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{path}: ") for line in lines)
        assert any(re.search(message, line) for line in lines), lines


@pytest.mark.parametrize("stage", ["synthesize", "curate", "train_refsr", "evaluate"])
@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))], ids=lambda p: p.name
)
def test_the_files_of_the_project_are_sound(path: Path, stage: str) -> None:
    load_section(path, stage)


@pytest.mark.parametrize(
    "text",
    [
        "curate: {hr_size: 100}",  # nothing is trained from this file
        "synthesize: {views: 1}",
        "data: {raw: data/own}\nsynthesize: {views: 1}\ncurate: {}",  # curate reads another set
        "synthesize: {test_identities: 1}\ncurate: {splits: drawn}\nevaluate: {}",
        "curate: {test_identities: 1}\nvalidate: {}",
        "curate: {test_identities: all, identities: [n000001, n000002]}",
        "train_refsr: {model: {width: 16}}",  # the variant is that of a checkpoint
        "train_sisr: {model: {width: 5}}\ntrain_refsr: {}",
    ],
)
def test_what_can_work_is_not_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    load_section(path, "synthesize")


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("curate: {hr_size: 20, test_identities: 1}\ntrain_sisr: {}\nevaluate: {}\n")
    with pytest.raises(RefsrError) as caught:
        load_section(path, "curate")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_options_of_each_variant_are_those_of_its_class(kind: tuple[str, str]) -> None:
    module, name = NETWORKS[kind]
    known = set(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    model, variant = kind
    assert set(VARIANTS[variant].options(model)) == known - set(SET_ELSEWHERE)
    assert known <= {*MODEL_OPTIONS, *FLAGS, *CHOICES}


def test_defaults_are_those_of_the_class() -> None:
    known = inspect.signature(CompactRefsr).parameters
    assert {name: known[name].default for name in COMPACT} == COMPACT


def test_choices_are_those_of_the_classes() -> None:
    assert {"mode": get_args(vae.Mode), "deployed_sd": get_args(vae.DeployedSd)} == CHOICES


@pytest.mark.parametrize(
    ("width", "heads"), list(itertools.product([2, 3, 5, 8, 12], [1, 2, 3, 4, 5, 16]))
)
def test_heads_are_refused_where_a_forward_would_fail(width: int, heads: int) -> None:
    config = {
        "model": "refsr",
        "variant": "compact",
        "hr_size": 32,
        "scale": 8,
        "blocks": 0,
        "latent": 1,
    }
    config |= {"attention": True, "width": width, "heads": heads}
    if message := heads_fault(width, heads):
        with pytest.raises(RefsrError, match=message):
            build(config)
        return
    image = torch.zeros(1, 3, 32, 32)
    assert build(config).upscale(torch.zeros(1, 3, 4, 4), image).shape == image.shape  # type: ignore[operator]


SIZES = list(itertools.product(["compact", "release", "figure"], [4, 8, 16], [32, 36, 40, 44, 48]))


@pytest.mark.parametrize(("variant", "scale", "hr"), SIZES)
def test_a_size_is_refused_where_its_network_cannot_be_built(
    tmp_path: Path, variant: str, scale: int, hr: int
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        f"curate: {{hr_size: {hr}}}\ntrain_sisr: {{variant: {variant}, scale: {scale}}}\n"
    )
    try:
        section = load_section(path, "train_sisr")
    except RefsrError:
        refused = True
    else:
        assert isinstance(section, TrainSisr)
        refused = False
    fits = hr % scale == 0
    if variant != "compact":
        try:
            with torch.device("meta"):
                build({"model": "sisr", "variant": variant, "hr_size": hr, "scale": scale})
        except RefsrError:
            fits = False
    assert refused is not fits
