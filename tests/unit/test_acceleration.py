"""Steps in parts, compiled, or by deterministic algorithms are the steps of a plain training."""

import os

import pytest
import torch
import torch._dynamo  # it looks operators up once: before a test replaces one

from refsr.config import Loss, TrainSisr
from refsr.models import build
from refsr.training import acceleration
from refsr.training.acceleration import deterministic
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Batch

NETWORK: dict[str, object] = {"model": "refsr", "variant": "compact", "hr_size": 32, "scale": 8}
NETWORK |= {"width": 16, "blocks": 1}
LOSSES = {
    "default": Loss(perceptual_weight=0, kl_warmup=0.5, consistency_weight=0.1),
    "released": Loss(kind="released"),
}


def _learner(loss: Loss, latent: int, **values: object) -> Learner:
    section = {"steps": 8, "warm_start_step": 1, "batch_size": 4, "precision": "float32"}
    params = TrainSisr.model_validate(section | {"device": "cpu", "loss": loss} | values)
    torch.manual_seed(0)
    model = build(NETWORK | {"latent": latent})
    return Learner(model, params, Objective(loss, params.steps))


def _step(learner: Learner, step: int) -> dict[str, float]:
    draw = torch.Generator().manual_seed(step)
    hr, ref = torch.rand(2, 4, 3, 32, 32, generator=draw)
    parts = learner.train_step(Batch(hr, None if step == 1 else ref))
    return {name: float(part) for name, part in parts.items()}


def _weights(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.model.parameters()])


def _assert_alike(one: Learner, other: Learner, steps: int) -> None:
    for step in range(steps):
        assert _step(one, step) == pytest.approx(_step(other, step), rel=1e-4, abs=1e-5)
    first, second = _weights(one), _weights(other)
    assert (first - second).norm() < 1e-5 * first.norm()


@pytest.mark.parametrize(("kind", "parts"), [("default", 2), ("released", 4)])
def test_a_batch_in_parts_gives_the_weights_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, kind: str, parts: int
) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # each part draws its own noise
    whole = _learner(LOSSES[kind], 0, optimizer="adam")
    _assert_alike(_learner(LOSSES[kind], 0, optimizer="adam", accumulate=parts), whole, 2)


def test_a_batch_that_parts_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 4 is not a multiple of accumulate 3"):
        _learner(LOSSES["default"], 0, accumulate=3)


def test_a_compiled_step_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs are captured as for a GPU; operators are PyTorch's own, not generated code."""
    monkeypatch.setattr(acceleration, "BACKEND", "aot_eager")
    plain = _learner(LOSSES["default"], 4, accumulate=2)
    compiled = _learner(LOSSES["default"], 4, accumulate=2, compile=True)
    _assert_alike(compiled, plain, 3)


def test_deterministic_algorithms_are_used_in_a_training_alone() -> None:
    cudnn = torch.backends.cudnn
    with deterministic(is_asked=False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(is_asked=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert cudnn.deterministic and not cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        learner = _learner(LOSSES["default"], 4)
        asked = [_step(learner, step) for step in range(2)]
    assert not torch.are_deterministic_algorithms_enabled()
    plain = _learner(LOSSES["default"], 4)
    assert asked == [_step(plain, step) for step in range(2)]
    assert torch.equal(_weights(learner), _weights(plain))
