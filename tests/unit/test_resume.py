"""A training goes on from what is sound: after a signal, damage, more steps, or no number."""

import logging
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import make_curated

from refsr.config import Loss, TrainSisr, Validate
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError, StoppedError
from refsr.io import atomic
from refsr.models import build
from refsr.steps.inputs import fingerprint_of
from refsr.tracker import NullTracker
from refsr.training.distributed import Processes
from refsr.training.history import MEASURED
from refsr.training.learner import Learner
from refsr.training.loop import train
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs
from refsr.training.state_file import KEPT, save_state, states

SMALL: dict[str, object] = {"model": "sisr", "variant": "compact", "hr_size": 32, "scale": 8}
SMALL |= {"width": 16, "blocks": 1, "latent": 4}
LOSS = Loss(perceptual_weight=0)


def _params(**values: object) -> TrainSisr:
    section = {"steps": 12, "batch_size": 2, "log_every": 1, "save_every": 2, "warmup_steps": 2}
    section |= {"warm_start_step": 3, "precision": "float32", "device": "cpu"}
    return TrainSisr.model_validate(section | values)


class _At(NullTracker):
    """Does something when a step is reported."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act

    def metrics(self, values: object, step: int | None = None) -> None:
        if step == self.step:
            self.act()


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def faces(tmp_path: Path) -> Curated:
    return Curated(make_curated(tmp_path / "curated", identities=6, images=3, train=4))


def _train(
    faces: Curated,
    folder: Path,
    tracker: NullTracker,
    **values: object,
) -> None:
    torch.manual_seed(7)  # the first weights
    params = _params(**values)
    objective = Objective(LOSS, params.steps)
    pairs = Pairs(faces, 0, params.batch_size)
    model = build(SMALL)
    train(model, pairs, params, objective, tracker, folder, snapshot_at=3)


def _result(folder: Path) -> list[bytes]:
    history = pd.read_csv(folder / "history.csv").drop(columns=list(MEASURED))
    names = ("model.safetensors", "warm.safetensors")
    return [history.to_csv().encode()] + [(folder / name).read_bytes() for name in names]


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_middle(path: Path) -> None:
    """Less than its table of contents says: parts begin before the file does."""
    data = path.read_bytes()
    path.write_bytes(data[:1000] + data[len(data) // 2 :])


def _flip_weights(path: Path) -> None:
    """One bit of the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
        content = archive.read(largest)
    data = path.read_bytes()
    place = data.index(content) + len(content) // 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])


DAMAGE: dict[str, tuple[int, Callable[[Path], object]]] = {
    "none": (0, _half),
    "half of the newest": (1, _half),
    "the middle of the newest": (1, _cut_middle),
    "a bit of the newest": (1, _flip_weights),
    "no newest": (1, Path.unlink),
    "two": (2, _half),
    "all": (KEPT, _half),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was killed, and one left alone."""
    root = tmp_path_factory.mktemp("killed")
    faces = Curated(make_curated(root / "curated", identities=6, images=3, train=4))
    _train(faces, root / "whole", NullTracker())
    with pytest.raises(KeyboardInterrupt):
        _train(faces, root / "killed", _At(11, _interrupt))
    return root


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal: a shell starts what runs in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_state_falls_back_loudly_to_the_bytes_of_the_unbroken_run(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    atomic.copy(killed / "killed", tmp_path / "run")
    saved = states(tmp_path / "run/state")
    assert [path.name for path in saved] == ["00000006.pt", "00000008.pt", "00000010.pt"]
    count, damage = DAMAGE[what]
    for path in saved[::-1][:count]:
        damage(path)
    with caplog.at_level(logging.INFO):
        _train(Curated(killed / "curated"), tmp_path / "run", NullTracker())
    warned = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert len(warned) == (0 if what == "no newest" else count)
    assert all(".pt: damaged" in message for message in warned)
    left = 10 - 2 * count
    assert (f"resumes at step {left} of 12" in caplog.messages) == (what != "all")
    assert _result(tmp_path / "run") == _result(killed / "whole")


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, StoppedError), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_saves_the_step_that_was_trained(
    killed: Path,
    tmp_path: Path,
    ctrl_c: None,
    number: signal.Signals,
    error: type[BaseException],
) -> None:
    before = signal.getsignal(number)
    stop = _At(5, lambda: os.kill(os.getpid(), number))
    faces = Curated(killed / "curated")
    with pytest.raises(error) as stopped:
        _train(faces, tmp_path / "run", stop, save_every=1000)
    assert type(stopped.value) is error
    assert signal.getsignal(number) == before
    assert [path.name for path in states(tmp_path / "run/state")] == ["00000005.pt"]
    _train(faces, tmp_path / "run", NullTracker())
    assert _result(tmp_path / "run") == _result(killed / "whole")


def test_more_steps_go_on_and_fewer_start_anew(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faces = Curated(killed / "curated")
    caplog.set_level(logging.INFO)
    _train(faces, tmp_path / "run", NullTracker(), steps=6)
    _train(faces, tmp_path / "run", NullTracker())
    assert "resumes at step 6 of 12" in caplog.messages
    assert "goes on with a training of 6 steps" in caplog.text
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert list(history["step"]) == list(range(1, 13))
    caplog.clear()
    _train(faces, tmp_path / "run", NullTracker(), steps=6)
    assert "of a training of 12 steps, not 6" in caplog.text
    assert len(pd.read_csv(tmp_path / "run/history.csv")) == 6


def test_a_training_keeps_its_precision_on_a_machine_that_chooses_another(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic.copy(killed / "killed", tmp_path / "run")
    choose = "refsr.training.learner.choose_precision"
    monkeypatch.setattr(choose, lambda requested, device: "bfloat16")
    _train(Curated(killed / "curated"), tmp_path / "run", NullTracker())
    said = "goes on in float32, as it began; a new training would be in bfloat16 here"
    assert said in caplog.messages
    assert _result(tmp_path / "run") == _result(killed / "whole")


def test_what_is_no_number_is_not_saved(tmp_path: Path) -> None:
    learner = Learner(build(SMALL), _params(), Objective(LOSS, 12))
    save_state(learner, tmp_path)
    learner.step = 1
    with torch.no_grad():
        next(learner.model.parameters())[0] = float("nan")
    with pytest.raises(RefsrError, match=r"at step 1 .* is not saved; .*00000000\.pt holds"):
        save_state(learner, tmp_path)
    assert [path.name for path in states(tmp_path)] == ["00000000.pt"]


def test_the_fingerprint_holds_only_what_changes_the_weights() -> None:
    def of(**values: object) -> str:
        kinds = {"sisr": "resumable output"}
        return fingerprint_of("train_sisr", _params(**values), kinds, {}, {}, {})

    same = {"log_every": 7, "image_every": 9, "save_every": 5, "device": "auto", "steps": 99}
    assert {of(**{key: value}) for key, value in same.items()} == {of()}
    assert len({of(seed=1), of(learning_rate=0.1), of(batch_size=4), of(ema=0.5), of()}) == 5
    assert Validate().may_change == frozenset()


def test_a_loss_in_sums_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of two halves, averaged, are those of the batch."""
    monkeypatch.setattr(Processes, "parallel", lambda self, model: model)
    monkeypatch.setattr(Processes, "from_first", lambda self, value: value)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # no noise
    batch = Batch(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), None)
    params = _params(clip_norm=0)
    objective = Objective(Loss(kind="released", perceptual="efficientnet"), 12)

    def gradient(processes: Processes) -> torch.Tensor:
        torch.manual_seed(0)
        learner = Learner(build(SMALL | {"latent": 0}), params, objective, processes)
        learner.train_step(batch)
        grads = [p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]
        return torch.cat(grads)

    averaged = (gradient(Processes(0, 2)) + gradient(Processes(1, 2))) / 2
    whole = gradient(Processes())
    assert (averaged - whole).norm() < 1e-4 * whole.norm()
