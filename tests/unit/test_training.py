"""The loop learns, resumes to the bit, and draws its pairs as it says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated
from torch import nn

from refsr.config import Loss, Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_model, read_checkpoint
from refsr.tracker import NullTracker
from refsr.training.history import MEASURED
from refsr.training.learner import Learner, schedule
from refsr.training.loop import train
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs, warp
from refsr.training.pictures import fixed_batch

SMALL = {"variant": "compact", "hr_size": 32, "scale": 8, "width": 16, "blocks": 1, "latent": 4}


def _objective(params: Training) -> Objective:
    """The default loss without a pretrained network."""
    return Objective(Loss(perceptual_weight=0, kl_weight=params.loss.kl_weight), params.steps)


@pytest.fixture
def faces(tmp_path: Path) -> Curated:
    return Curated(make_curated(tmp_path / "curated", identities=6, images=3, train=4))


def _numbered(folder: Path) -> Curated:
    """A set whose pixels tell identity (red) and view (green)."""
    pixels = np.zeros((6, 4, 32, 32, 3), np.uint8)
    pixels[..., 0] = np.arange(6)[:, None, None, None] * 10
    pixels[..., 1] = np.arange(4)[None, :, None, None] * 10
    return Curated(make_curated(folder, identities=6, images=3, train=5, pixels=pixels))


def _params(**values: object) -> TrainRefsr:
    return TrainRefsr.model_validate(
        {"steps": 100, "no_reference": 0, "wrong_reference": 0, "self_reference": 0} | values
    )


def _colours(images: torch.Tensor) -> np.ndarray:
    """(B, 2): the identity and the view of each image of a numbered set."""
    return (images[:, :2, 0, 0] * 25.5).round().int().numpy()


def test_a_reference_is_another_image_of_the_same_training_identity(tmp_path: Path) -> None:
    pairs = Pairs(_numbered(tmp_path / "c"), seed=0, batch_size=64, references=_params())
    seen = set()
    for step in range(20):
        batch = pairs.batch(step, "cpu")
        assert batch.ref is not None
        hr, ref = _colours(batch.hr), _colours(batch.ref)
        assert (hr[:, 0] == ref[:, 0]).all()
        assert (hr[:, 1] != ref[:, 1]).all()
        seen |= {(int(i), int(v), int(w)) for (i, v), (_, w) in zip(hr, ref, strict=True)}
    assert seen == {
        (i, v, w) for i in range(5) for v in range(4) for w in range(4) if v != w
    }  # never identity 5: test


def test_shares_of_wrong_missing_and_self_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refsr.training.pairs.warp", lambda images, seed: images)
    faces = _numbered(tmp_path / "c")
    wrong = Pairs(faces, 0, 64, _params(wrong_reference=1.0))
    other = [
        _colours(b.hr)[:, 0] != _colours(b.ref)[:, 0]
        for s in range(20)
        if (b := wrong.batch(s, "cpu")).ref is not None
    ]
    assert 0.7 < np.mean(other) < 0.9  # four in five other identities
    none = Pairs(faces, 0, 4, _params(no_reference=0.5))
    assert 5 < sum(none.batch(step, "cpu").ref is None for step in range(40)) < 35
    own = Pairs(faces, 0, 64, _params(self_reference=1.0))
    first = own.batch(0, "cpu")
    assert first.ref is not None
    assert torch.equal(first.ref, first.hr)
    late = own.batch(60, "cpu")
    assert late.ref is not None
    assert (_colours(late.ref)[:, 1] != _colours(late.hr)[:, 1]).all()


def test_a_batch_is_a_function_of_seed_and_step(faces: Curated) -> None:
    first, again, other = (
        Pairs(faces, seed, 8, TrainRefsr()).batch(3, "cpu") for seed in (0, 0, 1)
    )
    assert torch.equal(first.hr, again.hr)
    assert (first.ref is None) == (again.ref is None)
    assert not torch.equal(first.hr, other.hr)


def test_warp_moves_and_relights_but_keeps_the_range() -> None:
    images = torch.rand(4, 3, 32, 32)
    warped = warp(images, seed=1)
    assert torch.equal(warped, warp(images, seed=1))
    assert not torch.allclose(warped, images, atol=0.05)
    assert warped.min() >= 0
    assert warped.max() <= 1


def test_schedule_warms_up_holds_and_falls() -> None:
    params = TrainSisr(steps=100, warm_start_step=50, warmup_steps=10)
    assert schedule(0, params) == pytest.approx(0.1)
    assert schedule(59, params) == pytest.approx(1.0)
    assert schedule(80, params) == pytest.approx(0.03 + 0.97 * 0.5)
    assert schedule(99, params) < 0.06
    assert schedule(99, params.model_copy(update={"schedule": "constant"})) == 1
    cosine = params.model_copy(update={"schedule": "cosine"})
    assert schedule(50, cosine) == pytest.approx(0.03 + 0.97 / 2)
    assert 0.03 < schedule(99, cosine) < 0.031


@pytest.mark.parametrize("kind", ["sisr", "refsr"])
def test_one_batch_is_overfitted(kind: str) -> None:
    torch.manual_seed(0)
    params = TrainSisr(
        steps=150,
        warm_start_step=1,
        warmup_steps=5,
        learning_rate=3e-3,
        loss=Loss(kl_weight=0),
        device="cpu",
    )
    learner = Learner(build({"model": kind} | SMALL), params, _objective(params))
    draw = torch.Generator().manual_seed(0)
    batch = Batch(
        *(
            torch.rand(2, 3, 8, 8, generator=draw).repeat_interleave(4, 2).repeat_interleave(4, 3)
            for _ in range(2)
        )
    )
    losses = [float(learner.train_step(batch)["l1"]) for _ in range(params.steps)]
    assert losses[-1] < 0.35 * losses[0]


class _Killed(NullTracker):
    """A tracker that stops the training at a step, as a kill would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def metrics(self, values: object, step: int | None = None) -> None:
        if step == self.at:
            raise KeyboardInterrupt


def _train(faces: Curated, folder: Path, tracker: NullTracker) -> dict[str, float]:
    torch.manual_seed(7)  # the first weights
    params = TrainRefsr(
        steps=12, batch_size=4, log_every=1, save_every=5, image_every=6, warmup_steps=2,
        precision="float32",
        device="cpu",  # a GPU adds up in another order each time
    )  # fmt: skip
    model = build({"model": "refsr"} | SMALL)
    return train(
        model,
        Pairs(faces, 0, 4, params),
        params,
        _objective(params),
        tracker,
        folder,
        snapshot_at=3,
    )


def test_a_killed_training_ends_in_the_same_bits(faces: Curated, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _train(faces, whole, NullTracker())
    with pytest.raises(KeyboardInterrupt):
        _train(faces, killed, _Killed(at=8))
    assert not (killed / "model.safetensors").exists()
    _train(faces, killed, NullTracker())
    for name in ("model.safetensors", "warm.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    histories = [
        pd.read_csv(folder / "history.csv").drop(columns=list(MEASURED))
        for folder in (whole, killed)
    ]
    pd.testing.assert_frame_equal(*histories)
    assert list(histories[0]["step"]) == list(range(1, 13))


def test_a_checkpoint_rebuilds_its_own_model(faces: Curated, tmp_path: Path) -> None:
    _train(faces, tmp_path / "run", NullTracker())
    config, facts, _ = read_checkpoint(tmp_path / "run" / "model.safetensors")
    assert (config["model"], config["width"]) == ("refsr", 16)
    assert facts == {"step": 12, "loss_networks": []}
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert fixed_batch(faces, 8)(model).shape == (4 * 32, 5 * 32, 3)


def test_a_loss_that_is_no_number_stops_the_training(faces: Curated, tmp_path: Path) -> None:
    params = TrainSisr(steps=3, warm_start_step=1, batch_size=2, log_every=1)
    model: nn.Module = build({"model": "sisr"} | SMALL)
    nn.init.constant_(model.head.weight, float("nan"))
    with pytest.raises(RefsrError, match=r"no number at step 1; .*kept in .*batch-00000001\.npz"):
        train(
            model, Pairs(faces, 0, 2), params, _objective(params), NullTracker(), tmp_path / "run"
        )


def test_checkpoints_name_the_networks_of_the_loss(faces: Curated, tmp_path: Path) -> None:
    params = TrainSisr(steps=1, warm_start_step=1, batch_size=2)
    objective = Objective(Loss(identity="dlib", identity_weight=0.1), 1)
    train(
        build({"model": "sisr"} | SMALL),
        Pairs(faces, 0, 2),
        params,
        objective,
        NullTracker(),
        tmp_path,
        snapshot_at=1,
    )
    for name in ("model.safetensors", "warm.safetensors"):
        assert read_checkpoint(tmp_path / name)[1]["loss_networks"] == [
            "efficientnet_lite0",
            "dlib",
        ]


def _after_steps(**options: object) -> tuple[Learner, list[torch.Tensor]]:
    """A learner after two steps, and its weights."""
    torch.manual_seed(0)
    params = TrainSisr.model_validate(
        {
            "steps": 9,
            "warm_start_step": 1,
            "warmup_steps": 0,
            "precision": "float32",
            "device": "cpu",
        }
        | options
    )
    learner = Learner(build({"model": "sisr"} | SMALL), params, _objective(params))
    for step in range(2):
        learner.train_step(
            Batch(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step)), None)
        )
    return learner, [p.detach().clone() for p in learner.model.parameters()]


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimizer_is_the_one_named(name: str, kind: type) -> None:
    learner, _ = _after_steps(optimizer=name, weight_decay=0.25)
    assert type(learner.optimizer) is kind
    assert [group["weight_decay"] for group in learner.optimizer.param_groups] == [0.25]


def test_without_averaging_the_last_weights_are_kept() -> None:
    learner, weights = _after_steps(ema=0.0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(learner.averaged_model().parameters(), weights, strict=True)
    )


def test_gradients_are_clipped_unless_a_parameter_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[float] = []
    monkeypatch.setattr(
        nn.utils,
        "clip_grad_norm_",
        lambda parameters, limit: limits.append(limit) or torch.ones(()),
    )
    _after_steps(clip_norm=0.5)
    _after_steps(clip_norm=0)
    assert limits == [0.5, 0.5]
