"""No documented setting fails at the end of a training.

Each goes through both trainings and an evaluation. The runs below share settings, so that there are
few of them; what has to occur in them is read off the parameters.
"""

import inspect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from annotated_types import Ge
from helpers import make_curated
from test_lpips import state as lpips_state

from refsr.config import Evaluate, Loss, Section, TrainRefsr, TrainSisr
from refsr.evaluation.networks import can_draw
from refsr.models import NETWORKS, SuperResolver, _network, build
from refsr.models.checkpoint import load_model, read_checkpoint, save_model
from refsr.steps.evaluate import evaluate
from refsr.steps.train_refsr import train_refsr
from refsr.steps.train_sisr import train_sisr
from refsr.tracker import NullTracker
from refsr.training import acceleration

PAGE = Path(__file__).parents[2] / "docs/how-to/train-variants.md"
SHORT = {
    "steps": 2,
    "batch_size": 2,
    "image_every": 2,
    "log_every": 1,
    "save_every": 2,
    "device": "cpu",
}
FILES = ("vgg19", "lpips")  # settings whose weights are a file of the user's
Settings = dict[str, Any]

RUNS: dict[str, dict[str, Settings]] = {
    "compact": {
        "train_sisr": {"device": "auto"}, "train_refsr": {"device": "auto"},
        "evaluate": {"lpips": "lpips"},
    },
    "compact without": {
        "train_sisr": {
            "scale": 4, "model": {"latent": 0, "align": False}, "optimizer": "adam",
            "schedule": "constant", "warmup_steps": 0, "precision": "float32", "ema": 0,
            "clip_norm": 0, "weight_decay": 0, "validate_every": 0, "on_nan": "roll_back",
            "accumulate": 2, "deterministic": True,
            "loss": {
                "perceptual": "hed", "kl_weight": 0, "consistency_weight": 0.1,
                "identity": "dlib", "identity_weight": 0.1,
            },
        },
        "train_refsr": {
            "model": {"offsets": False, "align": False}, "optimizer": "adam",
            "schedule": "constant", "warmup_steps": 0, "precision": "float32", "ema": 0,
            "clip_norm": 0, "weight_decay": 0, "validate_every": 0, "on_nan": "roll_back",
            "accumulate": 2, "deterministic": True,
            "wrong_reference": 0, "no_reference": 0, "self_reference": 0,
            "loss": {
                "perceptual": "hed", "kl_weight": 0, "consistency_weight": 0.1,
                "identity": "dlib", "identity_weight": 0.1,
            },
        },
    },
    "compact with all terms": {
        "train_sisr": {
            "scale": 16, "model": {"latent": 64}, "precision": "bfloat16",
            "schedule": "cosine", "best_by": "psnr_none", "degradation": "real",
            "loss": {
                "perceptual_weight": 0, "identity_weight": 0.1, "identity_steps": 2,
                "kl_warmup": 0.5, "free_bits": 0.5,
            },
        },
        "train_refsr": {
            "model": {"attention": True}, "precision": "bfloat16",
            "schedule": "cosine", "best_by": "psnr_right",
            "degradation": "real",
            "loss": {
                "perceptual_weight": 0, "identity_weight": 0.1, "identity_steps": 2,
                "kl_warmup": 0.5, "free_bits": 0.5,
            },
        },
        "evaluate": {"split": "validation"},
    },
    "release": {
        "train_sisr": {
            "steps": 1, "variant": "release", "loss": {"kind": "released", "perceptual": "hed"},
        },
        "train_refsr": {
            "steps": 1, "best_by": "psnr_none", "loss": {"kind": "released", "perceptual": "hed"},
        },
    },
    "figure": {
        "train_sisr": {
            "steps": 1, "variant": "figure", "loss": {"kind": "means", "perceptual": "vgg19"},
            "compile": True,
        },
        "train_refsr": {
            "steps": 1, "loss": {"kind": "means", "perceptual": "vgg19"}, "compile": True,
        },
    },
}  # fmt: skip
# What changes nothing of the training of the published variants:
# evaluated with the weights of the run above.
DEPLOYED: Settings = {"deployed_sd": "normal"}
COMPARED: dict[str, Settings] = {"gaussian": {"mode": "gaussian"}, "lr": {"mode": "lr"}}
SECTIONS: dict[str, type[Section]] = {
    "train_sisr": TrainSisr,
    "train_refsr": TrainRefsr,
    "evaluate": Evaluate,
}


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_curated(
        tmp_path_factory.mktemp("curated"),
        identities=6,
        images=2,
        train=2,
        validation=2,
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of random weights, by the setting that needs one."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(lpips_state(), folder / "lpips.pth")
    torch.save(_vgg19_state(), folder / "vgg19.pth")
    return {name: str(folder / f"{name}.pth") for name in FILES}


def _vgg19_state() -> dict[str, torch.Tensor]:
    from test_vgg19 import _reference

    return {f"features.{name}": tensor for name, tensor in _reference().state_dict().items()}


def _section(run: str, name: str, weights: dict[str, str]) -> Section:
    settings = json.loads(json.dumps(RUNS[run].get(name, {})))
    if settings.get("loss", {}).get("perceptual") == "vgg19":
        settings["loss"]["vgg19_weights"] = weights["vgg19"]
    if "lpips" in settings:
        settings["lpips"] = weights["lpips"]
    if name == "evaluate":
        return Evaluate.model_validate(
            {"bootstrap": 100, "strips": 1, "grid": 2, "samples": 2, "kid_images": 4} | settings
        )
    if name == "train_sisr":
        settings["warm_start_step"] = 1
        if settings.get("variant", "compact") == "compact":
            settings["model"] = {"width": 8, "blocks": 1} | settings.get("model", {})
    return SECTIONS[name].model_validate(SHORT | settings)


@pytest.mark.parametrize("run", RUNS)
def test_every_setting_trains_and_is_evaluated(
    run: str,
    curated: Path,
    weights: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceleration, "BACKEND", "eager")  # to generate code takes a minute
    sisr, refsr = tmp_path / "sisr", tmp_path / "refsr"
    sections: dict[str, Any] = {name: _section(run, name, weights) for name in SECTIONS}
    train_sisr(
        sections["train_sisr"],
        NullTracker(),
        curated=curated,
        validation=tmp_path,
        sisr=sisr,
    )
    train_refsr(sections["train_refsr"], NullTracker(), curated=curated, sisr=sisr, refsr=refsr)
    published = "mode" in read_checkpoint(refsr / "model.safetensors")[0]
    others = {
        name: _changed(refsr, options, name) for name, options in COMPARED.items() if published
    }
    numbers = evaluate(
        sections["evaluate"].model_copy(update={"compare": others}),
        NullTracker(),
        curated=curated,
        sisr=_changed(sisr, DEPLOYED, "deployed") if published else sisr,
        refsr=refsr,
        evaluation=tmp_path / "evaluation",
    )
    network = cast(SuperResolver, load_model(refsr / "model.safetensors"))
    assert ("samples.distance" in numbers) == network.draws_samples
    assert ("other_arms.ref_gaussian.psnr.mean" in numbers) == can_draw(network)
    assert {f"other_arms.{name}_right.psnr.mean" for name in others} <= set(numbers)


def _changed(folder: Path, options: Settings, name: str) -> Path:
    """A copy of a checkpoint with these options."""
    config, facts, tensors = read_checkpoint(folder / "model.safetensors")
    network = build(config | options)
    network.load_state_dict(tensors)
    save_model(folder / f"{name}.safetensors", network, facts)
    return folder / f"{name}.safetensors"


def _choices(hint: Any, metadata: tuple[Any, ...] = ()) -> set[Any]:
    """The values of a parameter that are named, and 0 where that is the least;
    empty for a free number or text.
    """
    if get_origin(hint) in (Union, UnionType):
        return set().union(*(_choices(part) for part in get_args(hint)))
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    if hint is bool:
        return {True, False}
    least = next((bound.ge for bound in metadata if isinstance(bound, Ge)), None)
    return {0} if least == 0 else set()


def _of_section(prefix: str, section: type[Section]) -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        if field.annotation is Loss:
            yield from _of_section(f"{prefix}.loss", Loss)
        elif name != "seed":
            for value in _choices(field.annotation, tuple(field.metadata)):
                yield f"{prefix}.{name}", value


def _of_variants() -> Iterator[tuple[str, Any]]:
    for model, variant in NETWORKS:
        network = _network({"model": model, "variant": variant})
        for name, hint in get_type_hints(network.__init__).items():
            for value in _choices(hint):
                yield f"{variant} {model}.{name}", value
        if "latent" in inspect.signature(network).parameters:
            yield f"{variant} sisr.latent", 0


def _of_the_page() -> Iterator[tuple[str, Any]]:
    for key, value in re.findall(r"-S '\+?(train_\w+[\w.]*)=(.*?)'", PAGE.read_text()):
        yield key, yaml.safe_load(value)


def _used() -> set[tuple[str, Any]]:
    weights = dict.fromkeys(FILES, "a file")
    used: set[tuple[str, Any]] = set()
    for run, name in itertools.product(RUNS, SECTIONS):
        section = _section(run, name, weights)
        used |= set(_flat(name, section.model_dump(mode="json")))
        if name == "evaluate":
            continue
        variant, model = (
            RUNS[run]["train_sisr"].get("variant", "compact"),
            name.removeprefix("train_"),
        )
        network = _network({"model": model, "variant": variant})
        defaults = {
            key: value.default for key, value in inspect.signature(network).parameters.items()
        }
        used |= {
            (f"{variant} {model}.{key}", value) for key, value in (defaults | section.model).items()
        }  # type: ignore[attr-defined]
    options = [DEPLOYED, *COMPARED.values()]
    for variant, (model, name) in itertools.product(
        ("release", "figure"), (("sisr", "deployed_sd"), ("refsr", "mode"))
    ):
        used |= {(f"{variant} {model}.{name}", each[name]) for each in options if name in each}
    return used


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}.{key}", value)
        elif not isinstance(value, list):
            yield f"{prefix}.{key}", value


def test_every_documented_value_is_in_a_run() -> None:
    """A new option of a network, a new choice of a parameter or a new ablation of the page has to
    be put in a run.
    """
    needed = {*_of_variants(), *_of_the_page()}
    needed |= {pair for name, section in SECTIONS.items() for pair in _of_section(name, section)}
    assert len(needed) > 60
    assert (
        needed - _used() - {("train_sisr.device", "cuda"), ("train_refsr.device", "cuda")} == set()
    )
