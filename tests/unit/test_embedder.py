"""The embedder that learns the training people, and the identity loss by it."""

import logging
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_curated

from refsr.config import Loss, TrainRefsr
from refsr.dataset.curated import Curated
from refsr.dataset.tensors import to_images
from refsr.errors import RefsrError, StoppedError
from refsr.models import build
from refsr.models.checkpoint import read_checkpoint, save_model
from refsr.steps.train_refsr import train_refsr
from refsr.tracker import NullTracker
from refsr.training import embedder
from refsr.training.embedder import FaceEmbedder, changed, train_embedder
from refsr.training.objective import Objective, identity_distance

STEPS = 6


class _Series(NullTracker):
    """Keeps each point, the last where it comes twice."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, int | None], float] = {}

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.points |= {(name, step): each for name, each in values.items()}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    folder = tmp_path_factory.mktemp("curated")
    return Curated(make_curated(folder, 12, 4, train=6, validation=4))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "BATCH", 8)
    monkeypatch.setattr(embedder, "SAVE_EVERY", 2)


def _train(
    faces: Curated,
    folder: Path,
    steps: int = STEPS,
    tracker: NullTracker = NullTracker(),  # noqa: B008  it keeps nothing
) -> FaceEmbedder:
    return train_embedder(faces, 0, steps, "cpu", folder, tracker)


def _same(one: FaceEmbedder, other: FaceEmbedder) -> bool:
    pairs = zip(
        one.state_dict().values(),
        other.state_dict().values(),
        strict=True,
    )
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_the_training_people(
    faces: Curated,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    before = torch.get_rng_state()
    network = _train(faces, tmp_path, 30)
    assert torch.equal(torch.get_rng_state(), before)
    assert "embedder: AUC" in caplog.text
    rows = faces.split("train")
    people = faces.table["identity"]
    person = people.to_numpy()[rows]
    images = to_images(faces.pixels(rows))
    with torch.no_grad():
        embedded = network(images)
    norms = embedded.norm(dim=1)
    assert norms.numpy() == pytest.approx(1)
    cosines = (embedded @ embedded.T).numpy()
    np.fill_diagonal(cosines, -1)
    nearest = person[cosines.argmax(1)]
    assert (nearest == person).mean() > 0.9


def test_a_killed_training_goes_on_to_the_same_weights(
    faces: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, series = _Series(), _Series()
    whole = _train(faces, tmp_path / "whole", tracker=expected)
    losses = [("embedder.loss", step) for step in (2, 4, 6)]
    assert [*expected.points] == [*losses, ("embedder.auc", 6)]
    learn = embedder._Learner.learn
    steps: list[int] = []

    def die_at_the_fourth(
        self: embedder._Learner,
        images: torch.Tensor,
        person: torch.Tensor,
        done: float,
    ) -> None:
        steps.append(self.step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        learn(self, images, person, done)

    monkeypatch.setattr(embedder._Learner, "learn", die_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        _train(faces, tmp_path / "cut", tracker=series)
    resumed = _train(faces, tmp_path / "cut", tracker=series)
    assert steps == [0, 1, 2, 3, 2, 3, 4, 5]
    assert _same(whole, resumed)
    assert series.points == expected.points
    series = _Series()  # of a run that goes on with a finished training
    again = _train(faces, tmp_path / "cut", tracker=series)
    assert _same(whole, again)
    assert len(steps) == 8
    assert series.points == expected.points


def test_a_loss_is_a_mean_over_its_steps(
    faces: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each, all_steps = _Series(), _Series()
    _train(faces, tmp_path / "each", tracker=each)
    monkeypatch.setattr(embedder, "SAVE_EVERY", STEPS)
    _train(faces, tmp_path / "all", tracker=all_steps)
    key = "embedder.loss", STEPS
    losses = [loss for (name, _), loss in each.points.items() if name == key[0]]
    assert np.mean(losses) == pytest.approx(all_steps.points[key])


def test_sigterm_saves_the_step(
    faces: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _Series()
    whole = _train(faces, tmp_path / "whole", tracker=expected)
    learn = embedder._Learner.learn

    def stopped(self: embedder._Learner, *args: object) -> None:
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        learn(self, *args)  # type: ignore[arg-type]

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(embedder._Learner, "learn", stopped)
        with pytest.raises(StoppedError, match="at step 3"):
            _train(faces, folder)
    assert (folder / "00000003.pt").is_file()
    series = _Series()  # one that has lost the points before
    resumed = _train(faces, folder, tracker=series)
    assert _same(whole, resumed)
    assert series.points == expected.points


@pytest.mark.parametrize("fault", ["cut", "people", "NaN"])
def test_a_state_with_a_fault_is_passed_over(
    fault: str,
    faces: Curated,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = _train(faces, tmp_path)
    (newest,) = tmp_path.iterdir()
    state = torch.load(newest)
    people = state["people"]
    if fault == "cut":
        half = newest.read_bytes()[:9999]
        newest.write_bytes(half)
    elif fault == "people":
        state["people"] = people[:2]
        torch.save(state, newest)
    else:
        people[0] = np.nan
        torch.save(state, newest)
    again = _train(faces, tmp_path)
    assert f"{newest}: not used" in caplog.text
    assert _same(whole, again)


def test_one_person_is_too_few(tmp_path: Path) -> None:
    made = make_curated(tmp_path / "curated", identities=2, images=3, train=1)
    expected = r"1 person for training.*identity_weight"
    with pytest.raises(RefsrError, match=expected):
        _train(Curated(made), tmp_path / "state")


def test_faces_are_changed_and_stay_images() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=draw)
    before = images.clone()
    one, same, other = (
        changed(
            images,
            torch.Generator().manual_seed(seed),
        )
        for seed in (1, 1, 2)
    )
    assert one.shape == (8, 3, 64, 64)
    assert one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(images, before)


def test_the_identity_loss_teaches_by_it() -> None:
    loss = Loss(
        kl_weight=0,
        perceptual_weight=0,
        identity_weight=0.1,
    )
    network = embedder.untrained_embedder(loss)
    objective = Objective(loss, 9, network)
    assert objective.networks == ["embedder"]
    parameters = objective.parameters()
    assert not any(p.requires_grad for p in parameters)
    with pytest.raises(ValueError, match="embedder"):
        Objective(loss, 9)
    by_dlib = loss.model_copy(update={"identity": "dlib"})
    assert not by_dlib.trains_embedder
    draw = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 64, 64, generator=draw)
    sr = torch.rand(2, 3, 64, 64, generator=draw)
    sr.requires_grad_()
    assert network is not None
    cosines = (network(sr) * network(hr)).sum(1)
    embed = objective.embed
    distance = identity_distance(embed, sr, hr)
    assert distance.item() == pytest.approx(1 - cosines.mean().item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(distance, sr)
    assert gradient.abs().sum() > 0


SISR = {
    "model": "sisr",
    "variant": "compact",
    "hr_size": 32,
    "scale": 4,
    "width": 16,
    "blocks": 1,
}


def test_both_phases_of_a_training_use_one(
    faces: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = embedder._Learner.learn
    steps: list[int] = []
    seen: set[str] = set()
    batch = embedder._Faces.batch

    def counted(self: embedder._Learner, *args: object) -> None:
        steps.append(self.step)
        learn(self, *args)  # type: ignore[arg-type]

    def noted(self: embedder._Faces, *args: int) -> tuple[torch.Tensor, torch.Tensor]:
        table = self.curated.table
        splits = table["split"].iloc[self.rows]
        seen.update(splits)
        return batch(self, *args)

    monkeypatch.setattr(embedder._Learner, "learn", counted)
    monkeypatch.setattr(embedder._Faces, "batch", noted)
    sisr, refsr = (tmp_path / name for name in ("sisr", "refsr"))
    sisr.mkdir()
    refsr.mkdir()
    save_model(sisr / "warm.safetensors", build(SISR))
    loss = {
        "perceptual_weight": 0,
        "identity_weight": 0.1,
        "identity_steps": 3,
    }
    params = TrainRefsr.model_validate(
        {
            "steps": 2,
            "batch_size": 2,
            "device": "cpu",
            "loss": loss,
            "sharpen": {"steps": 1},
        }
    )
    train_refsr(
        params,
        NullTracker(),
        curated=faces.folder,  # type: ignore[arg-type]
        sisr=sisr,  # type: ignore[arg-type]
        refsr=refsr,  # type: ignore[arg-type]
    )
    assert steps == [0, 1, 2]
    assert seen == {"train"}
    checkpoint = refsr / "model.safetensors"
    facts = read_checkpoint(checkpoint)[1]
    assert facts["loss_networks"] == ["embedder"]
