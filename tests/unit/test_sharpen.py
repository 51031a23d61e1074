"""The generative phase: its weights stand beside the faithful ones, or are dropped."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import make_curated
from PIL import Image

import refsr
from refsr.__main__ import main
from refsr.config import Sharpen, TrainRefsr
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.evaluation import realism
from refsr.evaluation.networks import load_models
from refsr.evaluation.realism import pattern
from refsr.models import build
from refsr.models.checkpoint import load_model, read_checkpoint, save_model
from refsr.side_config import UpscaleFolder
from refsr.steps.train_refsr import train_refsr
from refsr.steps.upscale_folder import upscale_folder
from refsr.tracker import NullTracker
from refsr.training.adversary import Adversary
from refsr.training.history import MEASURED
from refsr.training.rehearsal import estimate

SMALL = {"model": "sisr", "variant": "compact", "hr_size": 32, "scale": 4}
SMALL |= {"width": 16, "blocks": 1, "latent": 4}
SHORT = {"steps": 4, "batch_size": 2, "log_every": 1, "save_every": 2, "validate_every": 2}
SHORT |= {"image_every": 2, "loss": {"perceptual_weight": 0}, "device": "cpu"}


class _Noted(NullTracker):
    """Keeps what is reported; a training is killed when it reports step `killed`."""

    def __init__(self, killed: str = "") -> None:
        self.killed, self.series, self.pictures = killed, [], []  # type: ignore[var-annotated]

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.series += [(name, step) for name in values]
        if (self.killed, 3) in self.series:
            raise KeyboardInterrupt

    def image(self, image: object, key: str, step: int | None = None) -> None:
        self.pictures.append((key, step))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharpen")
    make_curated(folder / "curated", identities=8, images=3, train=4, validation=2)
    torch.manual_seed(0)
    (folder / "sisr").mkdir()
    save_model(folder / "sisr" / "warm.safetensors", build(SMALL))
    return folder


def _trained(
    folder: Path, to: Path, sharpen: Mapping[str, float], tracker: NullTracker | None = None
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """The numbers of a training, and the tensors of its checkpoint."""
    params = TrainRefsr.model_validate(SHORT | {"sharpen": sharpen})
    to.mkdir(exist_ok=True)
    numbers = train_refsr(
        params,
        tracker or NullTracker(),
        curated=folder / "curated",  # type: ignore[arg-type]
        sisr=folder / "sisr",  # type: ignore[arg-type]
        refsr=to,  # type: ignore[arg-type]
    )
    return numbers, read_checkpoint(to / "model.safetensors")[2]


def _measure(monkeypatch: pytest.MonkeyPatch, kid: float, psnr: float) -> None:
    """Let the phase seem to change validation images from .2 and 20 dB to these."""
    both = {"faithful": {"kid": 0.2, "psnr": 20.0}, "sharp": {"kid": kid, "psnr": psnr}}
    monkeypatch.setattr(realism, "realism", lambda *_, **__: both)


@pytest.fixture(params=[(0.1, 19.3), (0.2, 20.0), (0.1, 19.1)])
def falls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether images come nearer to true ones, at no more than .8 dB."""
    _measure(monkeypatch, *request.param)
    return bool(request.param == (0.1, 19.3))


def test_sharp_weights_are_kept_where_validation_images_become_more_real(
    folder: Path, tmp_path: Path, falls: bool
) -> None:
    _, plain = _trained(folder, tmp_path / "plain", {"steps": 0})
    tracker = _Noted()
    numbers, both = _trained(folder, tmp_path / "both", {"steps": 6}, tracker)
    assert numbers["sharpen.kid_faithful"] == 0.2
    assert all(torch.equal(both[name], plain[name]) for name in plain)
    kept = both.keys() - plain.keys()
    assert kept == ({f"sharp.{name}" for name in plain} if falls else set())
    assert (
        any(not torch.equal(both[name], plain[name.removeprefix("sharp.")]) for name in kept)
        is falls
    )
    losses = [step for name, step in tracker.series if name == "sharpen.loss"]
    assert losses == [1, 2, 3, 4, 5, 6]
    assert [step for name, step in tracker.series if name == "loss"] == [1, 2, 3, 4]
    assert ("sharpen.fixed_batch", 6) in tracker.pictures
    rows = pd.read_csv(tmp_path / "both" / "sharpen_history.csv")
    assert list(rows["step"]) == losses
    assert {"adversarial", "discriminator"} <= set(rows)


def test_a_phase_that_was_killed_ends_in_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name, killed in (("whole", ""), ("killed", "sharpen.loss")):
        if killed:
            with pytest.raises(KeyboardInterrupt):
                _trained(folder, tmp_path / name, {"steps": 6}, _Noted(killed))
        numbers, _ = _trained(folder, tmp_path / name, {"steps": 6})
        assert numbers["sharpen.kid_sharp"] != numbers["sharpen.kid_faithful"]
    folders = [tmp_path / name for name in ("whole", "killed")]
    whole, killed_one = ((each / "model.safetensors").read_bytes() for each in folders)
    assert whole == killed_one
    tables = [pd.read_csv(each / "sharpen_history.csv") for each in folders]
    pd.testing.assert_frame_equal(*(table.drop(columns=list(MEASURED)) for table in tables))


@pytest.mark.usefixtures("falls")
def test_another_phase_goes_on_from_the_finished_training(folder: Path, tmp_path: Path) -> None:
    _, first = _trained(folder, tmp_path, {"steps": 2})
    tracker = _Noted()
    _, second = _trained(folder, tmp_path, {"steps": 3, "adversarial_weight": 0.5}, tracker)
    names = [name for name in first if not name.startswith("sharp.")]
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert [step for name, step in tracker.series if name == "sharpen.loss"] == [1, 2, 3]
    assert len([*(tmp_path / "state").glob("*/sharpen")]) == 1


def test_without_validation_people_nothing_is_trained(folder: Path, tmp_path: Path) -> None:
    make_curated(tmp_path / "curated", identities=6, train=4)
    (tmp_path / "sisr").symlink_to(folder / "sisr")
    with pytest.raises(RefsrError, match=r"needs two images of validation people.*validation_id"):
        _trained(tmp_path, tmp_path / "refsr", {"steps": 2})
    assert not [*(tmp_path / "refsr").rglob("*.pt")]


def test_a_dry_run_names_the_phase(folder: Path) -> None:
    model = build(SMALL | {"model": "refsr"})
    for steps in (0, 7):
        params = TrainRefsr.model_validate(SHORT | {"sharpen": {"steps": steps}})
        printed = estimate(model, Curated(folder / "curated", columns=()), params)
        assert ("7 steps of the generative phase" in printed.get("then", "")) is bool(steps)


def test_the_loss_of_sums_goes_without_an_adversary() -> None:
    with pytest.raises(ValueError, match="a sum over the batch, an adversary has no weight"):
        TrainRefsr.model_validate({"sharpen": {"steps": 1}, "loss": {"kind": "released"}})


@pytest.fixture
def sharp(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with weights of a generative phase."""
    _measure(monkeypatch, 0.1, 20.0)
    _trained(folder, tmp_path / "refsr", {"steps": 3, "learning_rate": 0.05})
    return tmp_path / "refsr" / "model.safetensors"


def test_realism_goes_from_the_faithful_weights_to_the_sharp_ones(sharp: Path) -> None:
    tensors = read_checkpoint(sharp)[2]
    for share in (0.0, 0.25, 1.0):
        weights = load_model(sharp, realism=share).state_dict()
        for name, value in weights.items():
            expected = torch.lerp(tensors[name], tensors[f"sharp.{name}"], share)
            assert torch.equal(value, expected)
    photo = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8).numpy()
    outputs = [refsr.load(sharp, realism=share).upscale(photo) for share in (0, 1)]
    assert (outputs[0] != outputs[1]).any()
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(RefsrError, match=r"realism .*: a number from 0 to 1 is expected"):
            refsr.load(sharp, realism=value)


def test_a_folder_is_upscaled_at_a_realism(sharp: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs" / "small").mkdir(parents=True)
    photo = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8).numpy()
    Image.fromarray(photo).save(tmp_path / "pairs" / "small" / "one.png")
    made = []
    for share in (0.0, 1.0):
        upscale_folder(
            UpscaleFolder(realism=share),
            NullTracker(),
            refsr=sharp.parent,  # type: ignore[arg-type]
            pairs=tmp_path / "pairs",  # type: ignore[arg-type]
            upscaled=tmp_path / f"upscaled-{share}",  # type: ignore[arg-type]
        )
        made.append((tmp_path / f"upscaled-{share}" / "one.png").read_bytes())
    assert made[0] != made[1]


def test_both_points_are_evaluated(sharp: Path) -> None:
    models = load_models({"refsr": sharp}, 32)
    assert {"ref_right", "ref_sharp"} <= models.conditions.keys()
    assert models.conditions["ref_sharp"].model == "sharp"


def test_a_model_without_the_phase_has_no_realism(folder: Path, tmp_path: Path) -> None:
    _trained(folder, tmp_path, {"steps": 0})
    assert "ref_sharp" not in load_models({"refsr": tmp_path / "model.safetensors"}, 32).conditions
    with pytest.raises(RefsrError, match="no weights of a generative phase; leave realism out"):
        load_model(tmp_path / "model.safetensors", realism=0.5)


def test_an_export_has_one_realism(
    sharp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, share in (("faithful", "0"), ("sharp", "1")):
        words = ["export", "--model", str(sharp), "--realism", share]
        assert main([*words, "--onnx", str(tmp_path / f"{name}.onnx")]) == 0
    capsys.readouterr()
    photo = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8).numpy()
    given = refsr.load(tmp_path / "sharp.onnx").upscale(photo).astype(int)
    assert abs(given - refsr.load(sharp, realism=1).upscale(photo)).max() <= 1
    assert (given != refsr.load(tmp_path / "faithful.onnx").upscale(photo)).any()
    with pytest.raises(RefsrError, match=r"an ONNX file has one realism.*export --realism"):
        refsr.load(tmp_path / "sharp.onnx", realism=0.5)


def test_the_discriminator_learns_and_its_judgement_reaches_the_network_alone() -> None:
    torch.manual_seed(1)
    params = Sharpen(steps=1, learning_rate=5e-4, r1_weight=0.01)
    adversary = Adversary(params, scale=4, device="cpu", seed=0)
    hr = torch.rand(4, 3, 32, 32)
    lr, sr = hr[..., ::4, ::4], hr.mean((2, 3), keepdim=True).expand_as(hr).clone()
    losses = []
    for step in range(40):
        adversary.optimizer.zero_grad()
        sr = sr.detach().requires_grad_()
        adversary.term(sr, hr, lr).backward()
        assert sr.grad is not None
        assert sr.grad.abs().max() > 0
        assert all(p.grad is None for p in adversary.network.parameters())
        losses.append(float(adversary.learn(step)["discriminator"]))
    assert losses[-1] < losses[0] / 2


def test_the_discriminator_looks_from_another_pixel_at_each_step() -> None:
    params = Sharpen(steps=1)
    lr, hr = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)

    def start(adversary: Adversary) -> list[int]:
        """The first row and column that a judgement hangs on."""
        sr = torch.rand_like(hr).requires_grad_()
        adversary.term(sr, hr, lr).backward()
        adversary.learn(0)
        assert sr.grad is not None
        seen = sr.grad[0].abs().sum(0).nonzero()
        return seen.amin(0).tolist()

    first = Adversary(params, scale=4, device="cpu", seed=0)
    around = [[0, 0], [0, 1], [1, 0], [1, 1]]
    seen = [start(first) for _ in range(6)]
    assert seen == [*around, *around[:2]]
    resumed = Adversary(params, scale=4, device="cpu", seed=1)
    resumed.load(first.state())
    assert start(resumed) == around[2]


@pytest.mark.parametrize(
    ("is_chequered", "expected"),
    [
        (True, 2.55),
        (False, 0.0),
    ],
)
def test_the_pattern_is_of_two_pixels_both_ways(
    is_chequered: bool,
    expected: float,
) -> None:
    rows = torch.arange(16)[:, None]
    columns = torch.arange(16)
    place = columns + is_chequered * rows
    drawn = 0.01 * (-1.0) ** place
    images = 0.5 + drawn.expand(2, 3, 16, 16)
    measured = pattern(images)
    assert abs(measured - expected) < 1e-3
