"""What a training shows of itself changes nothing of it: validation, means, best, early stop."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_curated
from test_resume import LOSS, SMALL, _At, _interrupt, _params, _result

from refsr.__main__ import main
from refsr.commands import rehearse
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.models import build
from refsr.models.checkpoint import load_model, read_checkpoint
from refsr.tracker import NullTracker
from refsr.training.loop import train
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.validation import Validation, validation


@pytest.fixture(scope="module")
def faces(
    tmp_path_factory: pytest.TempPathFactory,
) -> Curated:
    folder = tmp_path_factory.mktemp("faces") / "curated"
    return Curated(make_curated(folder, identities=8, images=3, train=4, validation=2))


def _train(
    faces: Curated,
    folder: Path,
    tracker: NullTracker | None = None,
    validate: Validation | None = None,
    prepare: Callable[[torch.nn.Module], object] = lambda model: None,
    **values: object,
) -> pd.DataFrame:
    """Train as test_resume does, by default with real validation; returns the history."""
    torch.manual_seed(7)  # the first weights
    params = _params(**({"validate_every": 4, "log_every": 3} | values))
    objective = Objective(LOSS, params.steps)
    if validate is None and params.validate_every:
        validate = validation(faces, 8, params, objective, references=False)
    model = build(SMALL)
    prepare(model)
    pairs = Pairs(faces, 0, params.batch_size)
    tracker = tracker or NullTracker()
    train(
        model,
        pairs,
        params,
        objective,
        tracker,
        folder,
        validate=validate,
        snapshot_at=3,
    )
    return pd.read_csv(folder / "history.csv")


@pytest.fixture(scope="module")
def whole(
    faces: Curated,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A training with validation that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    _train(faces, folder)
    return folder


def test_validation_changes_no_weight(
    faces: Curated,
    whole: Path,
    tmp_path: Path,
) -> None:
    each = _train(faces, tmp_path, validate_every=0, log_every=1)
    for name in ("model.safetensors", "warm.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    assert not (tmp_path / "best.safetensors").exists()
    history = pd.read_csv(whole / "history.csv")
    assert list(history["step"]) == [3, 4, 6, 8, 9, 12]
    measured = history.dropna()
    assert list(measured["step"]) == [4, 8, 12]
    assert measured["validation.psnr_none"].between(3, 50).all()
    before = 0
    for row in history.itertuples():  # the means of the steps since the row before
        steps = each[(each["step"] > before) & (each["step"] <= row.step)]
        for name in ("loss", "kl", "gradient_norm"):
            assert getattr(row, name) == pytest.approx(steps[name].mean(), rel=1e-6)
        before = int(row.step)


def test_a_killed_training_has_the_same_best_and_means(
    faces: Curated,
    whole: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):  # the last state, of step 8, is within an interval
        _train(faces, tmp_path, _At(9, _interrupt))
    _train(faces, tmp_path)
    assert _result(tmp_path) == _result(whole)
    best = "best.safetensors"
    assert (tmp_path / best).read_bytes() == (whole / best).read_bytes()
    history = pd.read_csv(whole / "history.csv").dropna()
    chosen = history.set_index("step")["validation.loss"].idxmin()
    assert read_checkpoint(whole / best)[1]["step"] == chosen


def test_validation_is_of_people_who_are_not_trained_on(
    faces: Curated,
    whole: Path,
) -> None:
    params = _params()
    model = load_model(whole / "model.safetensors")
    random = torch.get_rng_state()
    measure = validation(faces, 8, params, Objective(LOSS, params.steps), references=False)
    numbers = measure(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert measure(model) == numbers
    last = pd.read_csv(whole / "history.csv").iloc[-1]
    assert numbers == {key: pytest.approx(last[key], rel=1e-5) for key in numbers}


def _numbers(
    *losses: float,
) -> Validation:
    """A validation with these results, the last one again and again."""
    left = list(losses)
    return lambda model: {"validation.loss": left.pop(0) if len(left) > 1 else left[0]}


def test_a_training_that_gets_no_better_ends_early(
    faces: Curated,
    tmp_path: Path,
) -> None:
    history = _train(faces, tmp_path, validate=_numbers(3, 2, 2), validate_every=1, patience=2)
    assert list(history["step"]) == [1, 2, 3, 4]
    assert read_checkpoint(tmp_path / "best.safetensors")[1]["step"] == 2
    assert read_checkpoint(tmp_path / "model.safetensors")[1]["step"] == 4
    again = _train(faces, tmp_path, validate=_numbers(1), validate_every=1, patience=2)
    assert len(again) == 4  # it is finished
    longer = _train(faces, tmp_path, validate=_numbers(2), validate_every=1, patience=5)
    assert list(longer["step"]) == [1, 2, 3, 4, 5, 6, 7]


def test_the_snapshot_is_made_before_an_early_end(
    faces: Curated,
    tmp_path: Path,
) -> None:
    history = _train(faces, tmp_path, validate=_numbers(1), validate_every=1, patience=1)
    assert history["step"].max() == 3
    assert (tmp_path / "warm.safetensors").exists()


class _Poison(NullTracker):
    """Makes weights NaN before the step after `step`, so many times; notes what is reported."""

    def __init__(
        self,
        step: int,
        times: int = 1,
    ) -> None:
        self.step, self.times, self.trained = step, times, 0
        self.tagged: dict[str, str] = {}
        self.reported: list[tuple[int, float]] = []

    def prepare(
        self,
        model: torch.nn.Module,
    ) -> None:
        model.register_forward_pre_hook(self.before)

    @torch.no_grad()
    def before(
        self,
        model: Any,
        inputs: object,
    ) -> None:
        self.trained += 1
        if self.trained > self.step and self.times:
            self.times, self.trained = self.times - 1, 0
            model.head.weight.fill_(float("nan"))

    def metrics(
        self,
        values: Any,
        step: int | None = None,
    ) -> None:
        self.reported.append((step or 0, values["learning_rate"]))

    def tags(
        self,
        values: Any,
    ) -> None:
        self.tagged |= values


@pytest.mark.parametrize("choice", ["stop", "roll_back"])
def test_a_training_that_is_no_number_keeps_the_batch_and_may_roll_back(
    faces: Curated,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    choice: str,
) -> None:
    poison = _Poison(5)
    values = {"on_nan": choice, "validate_every": 0, "log_every": 1, "schedule": "constant"}
    if choice == "stop":
        with pytest.raises(RefsrError, match="lower learning_rate, or set on_nan: roll_back"):
            _train(faces, tmp_path, poison, prepare=poison.prepare, **values)
    else:
        with caplog.at_level(logging.WARNING):
            history = _train(faces, tmp_path, poison, prepare=poison.prepare, **values)
        assert "Rolled back to step 4, learning_rate 0.0002" in caplog.text
        assert poison.tagged["rolled_back"] == "to step 4"
        assert list(history["step"]) == list(range(1, 13))
        assert history["learning_rate"].tolist()[2:] == [4e-4] * 2 + [2e-4] * 8
        # What is repeated is reported once, with the later numbers.
        assert poison.reported == list(zip(history["step"], history["learning_rate"], strict=True))
    with np.load(tmp_path / "state/batch-00000006.npz") as kept:
        assert np.array_equal(kept["hr"], Pairs(faces, 0, 2).batch(5, "cpu").hr)


def test_a_training_is_rolled_back_once(
    faces: Curated,
    tmp_path: Path,
) -> None:
    poison = _Poison(1, times=2)
    values = {"on_nan": "roll_back", "validate_every": 0, "log_every": 1}
    with pytest.raises(RefsrError, match=r"no number at step 2; lower learning_rate\."):
        _train(faces, tmp_path, poison, prepare=poison.prepare, **values)
    assert poison.times == 0


PARAMS = """
train_sisr: {steps: 4, warm_start_step: 2, batch_size: 4, model: {width: 8, blocks: 1}, device: cpu}
train_refsr: {steps: 4, batch_size: 4, device: cpu}
"""


def test_rehearsals_print_and_write_no_output(
    faces: Curated,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rehearse, "OVERFIT_STEPS", 10)
    Path("params.yaml").write_text(PARAMS)
    sisr = ["train-sisr", "--curated", str(faces.folder), "--validation", ".", "--sisr", "sisr"]
    refsr = ["train-refsr", "--curated", str(faces.folder), "--sisr", str(whole)]
    refsr += ["--refsr", "refsr"]
    assert main([*refsr, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "model refsr, variant compact, hr_size 32" in printed
    for title in ("parameters", "MACs", "memory", "time", "training"):
        assert re.search(rf"^{title} +[\d,.]+\b", printed, re.MULTILINE), title
    assert main([*sisr, "--overfit-one-batch"]) == 0
    losses = re.findall(r"^step +\d+: loss ([\d.]+)", capsys.readouterr().out, re.MULTILINE)
    assert len(losses) == 10
    assert float(losses[-1]) < float(losses[0])
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert main([*sisr, "--profile", "1"]) == 0
    assert json.loads(Path("trace-train_sisr.json").read_text())["traceEvents"]
    assert main([*sisr, "--profile", "0"]) == 1
    assert len(list(tmp_path.iterdir())) == 2
