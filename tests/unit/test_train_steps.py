"""The two trainings as stages: every variant from parameters alone."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.config import Loss, Section, Training
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import read_checkpoint, save_model
from refsr.params import load_section
from refsr.steps.train_refsr import train_refsr
from refsr.steps.train_sisr import train_sisr
from refsr.tracker import NullTracker
from refsr.training.loop import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Batch

PROFILES = Path(__file__).parents[2] / "params"


def _section(variant: str, stage: str, **values: object) -> Section:
    """A stage's parameters from the variant's profile, for one step."""
    section = load_section(PROFILES / f"{variant}.yaml", stage)
    short = {"steps": 1, "batch_size": 2, "image_every": 1, "log_every": 1}
    return type(section).model_validate(section.model_dump() | short | values)


@pytest.mark.parametrize("variant", ["release", "figure"])
def test_the_papers_variants_train_from_their_profiles(variant: str, tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=2)
    sisr = _section(variant, "train_sisr", warm_start_step=1)
    train_sisr(sisr, NullTracker(), curated=curated, validation=tmp_path, sisr=tmp_path / "sisr")  # type: ignore[arg-type]
    refsr = _section(variant, "train_refsr")
    train_refsr(refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr")  # type: ignore[arg-type]
    for model in ("sisr", "refsr"):
        config, facts, _ = read_checkpoint(tmp_path / model / "model.safetensors")
        assert (config["model"], config["variant"], config["hr_size"]) == (model, variant, 32)
        assert facts == {"step": 1, "loss_networks": ["vgg16_hed"]}
        assert list(pd.read_csv(tmp_path / model / "history.csv")["active_units"] >= 0) == [True]


def test_a_snapshot_of_another_version_is_refused(tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=2)
    older = build({"model": "sisr", "variant": "compact", "hr_size": 32, "scale": 8, "width": 16, "blocks": 1})
    del older.context
    (tmp_path / "sisr").mkdir()
    save_model(tmp_path / "sisr" / "warm.safetensors", older, {})
    refsr = load_section(PROFILES / "tiny.yaml", "train_refsr")
    with pytest.raises(RefsrError, match=r"warm.safetensors: does not fit this version .* train again"):
        train_refsr(refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr")  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["release", "figure"])
def test_profiles_train_as_the_paper_does(variant: str) -> None:
    for stage in ("train_sisr", "train_refsr"):
        section = load_section(PROFILES / f"{variant}.yaml", stage)
        assert isinstance(section, Training)
        assert (section.batch_size, section.optimizer, section.schedule) == (16, "adam", "constant")
        assert (section.learning_rate, section.weight_decay) == (1e-4, 1e-4)
        assert (section.warmup_steps, section.clip_norm, section.ema, section.loss.kind) == (0, 0, 0, "released")


@pytest.mark.parametrize(("variant", "model"), [("release", "sisr"), ("figure", "refsr")])
def test_the_papers_variants_learn_at_64_pixels(variant: str, model: str) -> None:
    """One step of the released loss, as large as sums are, reaches every weight."""
    torch.manual_seed(0)
    network = build({"model": model, "variant": variant, "hr_size": 64, "scale": 8})
    params = Training(steps=1, warmup_steps=0, ema=0, precision="float32", learning_rate=1e-3, device="cpu")
    learner = Learner(network, params, Objective(Loss(kind="released", perceptual="hed"), 1))
    parts = learner.train_step(Batch(*torch.rand(2, 1, 3, 64, 64)))
    assert parts["loss"] > 3 * 64 * 64 * parts["l1"]
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())
