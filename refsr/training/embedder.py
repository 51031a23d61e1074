"""A face embedder that is trained on the training people alone, for the identity loss.

dlib's network reports identity, so that it should not teach it. This one starts from
EfficientNet-Lite0 and learns to tell the training people apart, by softmax over their cosines with
a margin (CosFace: Wang et al., CVPR 2018). docs/decisions/0019-identity-loss.md says what it is
worth.
"""

import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.config import Loss
from refsr.dataset.curated import Curated
from refsr.dataset.tensors import to_images
from refsr.errors import RefsrError
from refsr.io import atomic
from refsr.models.pretrained import EfficientNetLite0Features
from refsr.progress import Progress
from refsr.tracker import Tracker
from refsr.training.pairs import images_of, moved_by, sent, small_moves
from refsr.training.state_file import NotANumberError, prune, read_state, require_numbers, states
from refsr.training.stop import stop_requests

SIZE = 64  # pixels, of a side of what it looks at
DIMENSIONS = 128
CELLS, CHANNELS = 4, 112  # of EfficientNet's deepest features that are weighed
DROPOUT = 0.3
BATCH = 48
SCALE, MARGIN = 24.0, 0.3  # of the cosines; the margin grows over the first half of the steps
RATE, HEAD_RATE, WEIGHT_DECAY = 5.0e-4, 2.0e-3, 5.0e-4
WARM_UP, SAVE_EVERY = 50, 200  # steps
MOST = 400  # validation images by which it is measured
_logger = logging.getLogger(__name__)


class FaceEmbedder(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> unit embeddings (N, DIMENSIONS)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = EfficientNetLite0Features().requires_grad_(True)
        self.norm = nn.LayerNorm(CHANNELS * CELLS**2)
        self.head = nn.Linear(CHANNELS * CELLS**2, DIMENSIONS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-2:] != (SIZE, SIZE):
            images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        features = F.adaptive_avg_pool2d(self.body.deepest(images), CELLS).flatten(1)
        dropped = F.dropout(self.norm(features), DROPOUT, self.training)
        return F.normalize(self.head(dropped), dim=1)


def untrained_embedder(loss: Loss) -> FaceEmbedder | None:
    """What costs as much as the embedder of the loss, where it has one, but knows nobody."""
    return _frozen(FaceEmbedder()) if loss.trains_embedder else None


def _frozen(embedder: FaceEmbedder) -> FaceEmbedder:
    return embedder.requires_grad_(False).eval()


class _Faces(NamedTuple):
    """The training images and whose they are."""

    curated: Curated
    rows: np.ndarray  # (N,)
    person: np.ndarray  # (N,), from 0 on

    def batch(self, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The uint8 pixels (BATCH, H, W, 3) of a step, a function of seed and step; the persons."""
        chosen = np.random.default_rng([seed, step]).integers(0, len(self.rows), BATCH)
        pixels = torch.from_numpy(self.curated.pixels(self.rows[chosen]))
        return pixels, torch.from_numpy(self.person[chosen])


class _Learner:
    """The embedder, the directions of the training people, and their optimiser."""

    def __init__(self, people: int, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.embedder = FaceEmbedder().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.people = nn.Parameter(0.05 * torch.randn(people, DIMENSIONS).to(device))
        head = [*self.embedder.norm.parameters(), *self.embedder.head.parameters(), self.people]
        groups = [
            {"params": list(self.embedder.body.parameters()), "rate": RATE},
            {"params": head, "rate": HEAD_RATE},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
        self.step = 0
        self.history: list[tuple[int, dict[str, float]]] = []  # step, what was reported
        self.summed = torch.zeros((), device=device)  # losses since the last row

    def learn(self, images: torch.Tensor, person: torch.Tensor, done: float) -> None:
        """One update, after the share `done` of the training."""
        factor = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        cosines = self.embedder.train()(images) @ F.normalize(self.people, dim=1).T
        margin = MARGIN * min(1.0, 2 * done)
        logits = SCALE * (cosines - margin * F.one_hot(person, len(self.people)))
        loss = F.cross_entropy(logits, person)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.embedder.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self.summed += loss.detach()

    def require_number(self) -> None:
        """Raises NotANumberError where the loss has become none."""
        if not math.isfinite(float(self.summed)):
            raise NotANumberError(
                f"training: the embedder's loss is no number at step {self.step}; set "
                "loss.identity_weight to 0, or loss.identity to dlib"
            )

    def state(self) -> dict[str, Any]:
        """What `load` takes."""
        return {
            "embedder": self.embedder.state_dict(),
            "people": self.people.data,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "summed": self.summed,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises what PyTorch does, or ValueError, for one of another kind."""
        self.embedder.load_state_dict(state["embedder"])
        self.people.data.copy_(state["people"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.history = list(state["history"])
        self.summed.copy_(state["summed"])
        require_numbers(state["embedder"] | {"people": state["people"]})


def train_embedder(
    faces: Curated, seed: int, steps: int, device: str, folder: Path, tracker: Tracker
) -> FaceEmbedder:
    """The embedder after so many steps on the training split: frozen, and on the CPU.

    The tracker gets `embedder.loss` and, of validation people, `embedder.auc`.

    `folder` keeps its state; a training that was killed goes on from it, to the same weights.
    Raises RefsrError where the split has fewer than two people, NotANumberError where the loss is
    none, StoppedError at SIGTERM once the state is saved.
    """
    rows = faces.split("train")
    codes = faces.table["identity"].astype("category").cat.codes.to_numpy()[rows]
    people, person = np.unique(codes, return_inverse=True)
    if len(people) < 2:
        raise RefsrError(
            f"{faces.folder}: {len(people)} person for training, and an embedder tells two or more "
            "apart; set loss.identity_weight to 0"
        )
    place = torch.device(device)
    with torch.random.fork_rng(devices=[place] if device == "cuda" else []):
        learner = _resumed(len(people), seed, place, folder)
        for step, numbers in learner.history:  # a tracker that has them drops them
            tracker.metrics(numbers, step)
        if learner.step < steps:
            _train(learner, _Faces(faces, rows, person), seed, steps, folder, tracker)
    return _frozen(learner.embedder).cpu()


def _resumed(people: int, seed: int, device: torch.device, folder: Path) -> _Learner:
    """That of the newest sound state, or a new one; what is passed over is reported."""
    for path in reversed(states(folder)):
        learner = _Learner(people, seed, device)
        try:
            learner.load(read_state(path, "refsr"))
            return learner
        except (RefsrError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).partition("; ")[0] if isinstance(error, RefsrError) else error
            _logger.warning("%s: not used: %.200s; an earlier step is taken", path, reason)
    return _Learner(people, seed, device)


def _train(
    learner: _Learner, faces: _Faces, seed: int, steps: int, folder: Path, tracker: Tracker
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(total=steps, done=learner.step, desc="trained embedder", unit="step")
    with progress, stop_requests() as stop:
        while learner.step < steps:
            step = learner.step
            torch.manual_seed(seed * 1_000_003 + step)  # of dropout
            pixels, person = faces.batch(seed, step)
            device = learner.people.device
            images = images_of(pixels, device)
            images = changed(images, torch.Generator().manual_seed(seed * 1_000_003 + step))
            learner.learn(images, sent(person, device), step / steps)
            progress.update()
            is_due = learner.step % SAVE_EVERY == 0 or learner.step == steps
            if stop or is_due:
                learner.require_number()
                if is_due:
                    numbers = _row(learner, faces.curated, is_last=learner.step == steps)
                    progress.show(loss=f"{numbers['embedder.loss']:.4f}")
                    tracker.metrics(numbers, learner.step)
                _save(learner, folder)
            if stop:
                raise stop.error(learner.step)
    prune(folder, 1)


def _row(learner: _Learner, faces: Curated, *, is_last: bool) -> dict[str, float]:
    """Add a row to the history: the mean loss since the one before, and at the end the AUC."""
    before = learner.history[-1][0] if learner.history else 0
    numbers = {"embedder.loss": float(learner.summed) / (learner.step - before)}
    learner.summed.zero_()
    if is_last:
        numbers |= _measured(learner.embedder, faces, learner.people.device)
    learner.history.append((learner.step, numbers))
    return numbers


def _save(learner: _Learner, folder: Path) -> None:
    state, path = learner.state(), folder / f"{learner.step:08d}.pt"
    atomic.write_file(path, lambda partial: torch.save(state, partial))
    prune(folder, 2)


def changed(images: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Images (B, 3, H, W) as photos differ, of a person: (B, 3, SIZE, SIZE) in [0, 1].

    Mirrored, moved, re-lit; half of them blurred, and half of them with a part that is hidden.
    """
    count = len(images)
    images = F.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    mirrored = sent(torch.rand(count, 1, 1, 1, generator=draw) < 0.5, images.device)
    images = torch.where(mirrored, images.flip(3), images)
    images = moved_by(images, sent(small_moves(count, draw), images.device))
    side = int(SIZE / (1 + 2.5 * float(torch.rand((), generator=draw)) ** 2))
    small = F.interpolate(images[::2], size=(side, side), mode="bicubic", antialias=True)
    images[::2] = F.interpolate(small, size=(SIZE, SIZE), mode="bicubic")
    gain = 1 + 0.15 * torch.randn(count, 3, 1, 1, generator=draw)
    offset = 0.07 * torch.randn(count, 1, 1, 1, generator=draw)
    images = images * sent(gain, images.device) + sent(offset, images.device)
    for image in images[: count // 2]:
        (height, width), (y, x) = (
            torch.randint(low, high, (2,), generator=draw).tolist()
            for low, high in ((SIZE // 8, SIZE // 2), (0, SIZE * 5 // 8))
        )
        image[:, y : y + height, x : x + width] = float(torch.rand((), generator=draw))
    return images.clamp(0, 1)


@torch.inference_mode()
def _measured(embedder: FaceEmbedder, faces: Curated, device: torch.device) -> dict[str, float]:
    """How well it tells validation people apart: `embedder.auc`, if they have pairs."""
    embedder.eval()
    rows = faces.split("validation")[:MOST]
    person = faces.table["identity"].to_numpy()[rows]
    upper = np.triu_indices(len(rows), 1)
    same = (person[:, None] == person)[upper]
    if not same.any() or same.all():
        _logger.info("embedder: no pairs of validation people to measure it by")
        return {}
    parts = (faces.pixels(rows[i : i + 32]) for i in range(0, len(rows), 32))
    embedded = torch.cat([embedder(to_images(part, device)) for part in parts])
    cosines = (embedded @ embedded.T).cpu().numpy()[upper]
    impostors = np.sort(cosines[~same])
    auc = float(np.searchsorted(impostors, cosines[same]).mean() / len(impostors))
    _logger.info("embedder: AUC %.3f of pairs of one validation person against pairs of two", auc)
    return {"embedder.auc": auc}
