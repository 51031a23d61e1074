"""The two trainings as stages: every variant from parameters alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.config import Loss, Section, Training
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.evaluation.pairing import pairs
from refsr.face_crops import LANDMARKS
from refsr.models import build
from refsr.models.checkpoint import read_checkpoint, save_model
from refsr.params import load_section
from refsr.steps.train_refsr import train_refsr
from refsr.steps.train_sisr import train_sisr
from refsr.tracker import NullTracker
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs

KINDS = ("sisr", "refsr")
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
    train_refsr(
        refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr"
    )  # type: ignore[arg-type]
    for model in ("sisr", "refsr"):
        config, facts, _ = read_checkpoint(tmp_path / model / "model.safetensors")
        assert (config["model"], config["variant"], config["hr_size"]) == (model, variant, 32)
        assert facts == {"step": 1, "loss_networks": ["vgg16_hed"]}
        assert list(pd.read_csv(tmp_path / model / "history.csv")["active_units"] >= 0) == [True]


@pytest.mark.parametrize(("validation", "seen"), [(2, {"train", "validation"}), (0, {"train"})])
def test_training_looks_at_nobody_of_the_test_split(
    validation: int, seen: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curated = make_curated(tmp_path / "curated", identities=6, train=2, validation=validation)
    looked: set[str] = set()
    read = Curated.pixels

    def spied(self: Curated, rows: np.ndarray) -> np.ndarray:
        looked.update(self.table["split"].to_numpy()[rows])
        return read(self, rows)

    monkeypatch.setattr(Curated, "pixels", spied)
    sisr, refsr = (load_section(PROFILES / "tiny.yaml", f"train_{kind}") for kind in KINDS)
    train_sisr(sisr, NullTracker(), curated=curated, validation=tmp_path, sisr=tmp_path / "sisr")  # type: ignore[arg-type]
    train_refsr(
        refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr"
    )  # type: ignore[arg-type]
    assert looked == seen
    written = [path.name for path in (tmp_path / "refsr").glob("*.safetensors")]
    assert sorted(written) == ["best.safetensors", "model.safetensors"]
    for name in written:
        facts = read_checkpoint(tmp_path / "refsr" / name)[1]
        assert ("compatibility" in facts) is ("validation" in seen)
        assert LANDMARKS in facts
    once = (tmp_path / "refsr" / "model.safetensors").read_bytes()
    train_refsr(  # as after a kill at the very end
        refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr"
    )  # type: ignore[arg-type]
    assert (tmp_path / "refsr" / "model.safetensors").read_bytes() == once


def test_a_snapshot_of_another_version_is_refused(tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=2)
    older = build(
        {
            "model": "sisr",
            "variant": "compact",
            "hr_size": 32,
            "scale": 8,
            "width": 16,
            "blocks": 1,
        },
    )
    del older.context
    (tmp_path / "sisr").mkdir()
    save_model(tmp_path / "sisr" / "warm.safetensors", older, {})
    refsr = load_section(PROFILES / "tiny.yaml", "train_refsr")
    with pytest.raises(
        RefsrError,
        match=r"warm.safetensors: does not fit this version .* train again",
    ):
        train_refsr(
            refsr, NullTracker(), curated=curated, sisr=tmp_path / "sisr", refsr=tmp_path / "refsr"
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["release", "figure"])
def test_profiles_train_as_the_paper_does(variant: str) -> None:
    for stage in ("train_sisr", "train_refsr"):
        section = load_section(PROFILES / f"{variant}.yaml", stage)
        assert isinstance(section, Training)
        assert (section.batch_size, section.optimizer, section.schedule) == (16, "adam", "constant")
        assert (section.learning_rate, section.weight_decay) == (1e-4, 1e-4)
        assert (section.warmup_steps, section.clip_norm, section.ema, section.loss.kind) == (
            0,
            0,
            0,
            "released",
        )


@pytest.mark.parametrize(("variant", "model"), [("release", "sisr"), ("figure", "refsr")])
def test_the_papers_variants_learn_at_64_pixels(variant: str, model: str) -> None:
    """One step of the released loss, as large as sums are, reaches every weight."""
    torch.manual_seed(0)
    network = build({"model": model, "variant": variant, "hr_size": 64, "scale": 8})
    params = Training(
        steps=1,
        warmup_steps=0,
        ema=0,
        precision="float32",
        learning_rate=1e-3,
        device="cpu",
    )
    learner = Learner(network, params, Objective(Loss(kind="released", perceptual="hed"), 1))
    parts = learner.train_step(Batch(*torch.rand(2, 1, 3, 64, 64)))
    assert parts["loss"] > 3 * 64 * 64 * parts["l1"]
    linear = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    others, *apart = learner.optimizer.param_groups
    assert [group["lr"] / others["lr"] for group in apart] == [2] * (variant == "release")
    assert [len(group["params"]) for group in apart] == [len(linear)] * (variant == "release")
    assert not any(group["weight_decay"] for group in apart)
    assert all(
        p.grad is not None and p.grad.isfinite().all() and p.grad.any()
        for p in network.parameters()
    )


def test_images_that_the_scale_does_not_divide_end_the_stage_at_once(tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=2, size=36)
    sisr = _section("tiny", "train_sisr", warm_start_step=1)
    with pytest.raises(
        RefsrError,
        match=r"36 pixels \(curate.hr_size\) are no multiple of train_sisr.scale: 8; set",
    ):
        train_sisr(
            sisr, NullTracker(), curated=curated, validation=tmp_path, sisr=tmp_path / "sisr"
        )  # type: ignore[arg-type]
    assert not (tmp_path / "sisr").exists()


def _snapshot(folder: Path, hr_size: int) -> Path:
    folder.mkdir()
    config = {
        "model": "sisr",
        "variant": "compact",
        "hr_size": hr_size,
        "scale": 8,
        "width": 16,
        "blocks": 1,
    }
    save_model(folder / "warm.safetensors", build(config), {})
    return folder


@pytest.mark.parametrize(
    ("hr_size", "images", "message"),
    [
        (
            64,
            2,
            (
                "trained for HR images of 64 pixels, and .*curated has 32 .* "
                "run the stage `train_sisr` again"
            ),
        ),
        (
            32,
            0,
            (
                "n000000 has 1 training image, and its reference must be another; "
                "set curate.train_images"
            ),
        ),
    ],
)
def test_what_refsr_cannot_train_on_ends_the_stage_at_once(
    tmp_path: Path, hr_size: int, images: int, message: str
) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=images, train=2)
    sisr = _snapshot(tmp_path / "sisr", hr_size)
    refsr = _section("tiny", "train_refsr")
    with pytest.raises(RefsrError, match=message):
        train_refsr(refsr, NullTracker(), curated=curated, sisr=sisr, refsr=tmp_path / "refsr")  # type: ignore[arg-type]
    assert not (tmp_path / "refsr").exists()


def test_a_set_without_training_images_ends_the_stage_at_once(tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=2, train=0)
    with pytest.raises(RefsrError, match="no image is for training"):
        Pairs(Curated(curated), 0, 2)


def test_a_test_split_of_references_alone_is_refused(tmp_path: Path) -> None:
    curated = make_curated(tmp_path / "curated", identities=4, images=0)
    with pytest.raises(RefsrError, match="no image beside the references"):
        pairs(Curated(curated).table, 0)
