"""The protocol: every held-out image restored in every arm, and every result measured against the true HR image.

`refsr.evaluation.conditions` lists the conditions, `pairing` says who gets whose reference, `scoring` what measures.
Outputs are clamped and rounded to 8 bits before anything is measured, as a saved file would be.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.errors import RefsrError
from refsr.evaluation.conditions import MAIN, Arm, arms_of
from refsr.evaluation.ensemble import self_ensemble
from refsr.evaluation.pairing import MISSING, add_lookalikes
from refsr.evaluation.scoring import Judge, Scores, Truth
from refsr.models import SuperResolver
from refsr.models.checkpoint import load_model
from refsr.progress import track

SMALLEST = 32  # HR side in pixels: SSIM's window must fit after the 8-pixel border of `ssim_y` is cut
CHUNK = 32  # references embedded at a time


@dataclass(frozen=True)
class Models:
    """The networks under test by name, "refsr" among them; the scale they share, and the device they are on."""

    networks: dict[str, SuperResolver]
    scale: int
    device: str

    @property
    def refsr(self) -> SuperResolver:
        """The reference model the evaluation is about."""
        return self.networks["refsr"]

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms that these networks can fill."""
        fixed = {name for name, network in self.networks.items() if not can_draw(network)}
        return arms_of(self.networks, fixed)


@dataclass(frozen=True)
class Measured:
    """What came of it. Arrays are of the main arms and of "hr", the true images, in the order of the pairs."""

    table: pd.DataFrame  # a row per image and arm: `person`, `source`, `row`, `arm`, metrics (NaN where not taken)
    identity: dict[str, np.ndarray]  # (N, 128)
    texture: dict[str, np.ndarray]  # (N, 512)


def load_models(paths: Mapping[str, Path], hr_size: int) -> Models:
    """These checkpoints by name. Raises RefsrError where one is missing, or does not fit the others or the images."""
    if hr_size < SMALLEST:
        raise RefsrError(f"HR images of {hr_size} pixels cannot be measured; curate with hr_size {SMALLEST} or more")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = {name: cast(SuperResolver, load_model(path, device)) for name, path in paths.items()}
    for name, path in paths.items():
        kind = "sisr" if name == "sisr" else "refsr"
        if networks[name].config["model"] != kind:
            raise RefsrError(f"{path}: a {networks[name].config['model']} network; `{name}` is to be a {kind} one")
    scale = int(networks["refsr"].config["scale"])
    for key, value in (("scale", scale), ("hr_size", hr_size)):
        for name, path in paths.items():
            found = networks[name].config[key]
            if found != value:
                raise RefsrError(f"{path}: trained for {key} {found}, not {value} as the rest; train it again")
    return Models(networks, scale, device)


def images(curated: Curated, rows: np.ndarray, device: str) -> torch.Tensor:
    """The images of these rows, (N, 3, H, H) in [0, 1]."""
    pixels = torch.from_numpy(curated.pixels(rows)).to(device)
    return pixels.permute(0, 3, 1, 2).float() / 255


def given(curated: Curated, arm: Arm, batch: pd.DataFrame, lr: torch.Tensor) -> torch.Tensor | None:
    """The references of an arm for these pairs: None, (B, 3, H, H), or (B, R, 3, H, H) for several."""
    size = (curated.hr_size, curated.hr_size)
    found = [
        to_8_bits(enlarge(lr, size)) if name == "lr" else images(curated, batch[name].to_numpy(), str(lr.device))
        for name in arm.references
    ]
    return None if not found else found[0] if len(found) == 1 else torch.stack(found, 1)


@torch.inference_mode()
def restore(models: Models, arm: Arm, lr: torch.Tensor, ref: torch.Tensor | None, size: int) -> torch.Tensor:
    """The output of an arm, (B, 3, H, H), H = `size`; neither clamped nor rounded."""
    if arm.model == "bicubic":
        return enlarge(lr, (size, size))
    model = models.networks[arm.model]
    if not arm.drawn:
        return model.upscale(lr, ref)
    if _draws_by_mode(model):
        return model.upscale(lr, ref, mode="gaussian")  # type: ignore[call-arg]
    return model.upscale(lr, ref, temperature=1.0)


def can_draw(network: SuperResolver) -> bool:
    """Whether a network can take its code from the prior: by a temperature, or by a mode of its own."""
    return network.draws_samples or _draws_by_mode(network)


def _draws_by_mode(network: SuperResolver) -> bool:
    return "mode" in network.config  # the published networks, which have no temperature


def to_8_bits(image: torch.Tensor) -> torch.Tensor:
    """Clamped and rounded to the 256 values that a saved file can hold, still in [0, 1]."""
    return (image.float().clamp(0, 1) * 255).round() / 255


class Bench:
    """The held-out images on the bench: what is compared, with what, by which judge."""

    def __init__(self, curated: Curated, models: Models, judge: Judge, test: pd.DataFrame) -> None:
        self.curated, self.models, self.judge = curated, models, judge
        self.references = test.drop_duplicates("person")[["person", "right"]].reset_index(drop=True)
        self.known = self._embed(self.references["right"].to_numpy())
        unit = F.normalize(self.known)
        self.test = add_lookalikes(test, self.references, (unit @ unit.T).cpu().numpy())
        self._place = {person: place for place, person in enumerate(self.references["person"])}

    def arms(self, batch: pd.DataFrame) -> dict[str, Arm]:
        """The arms that every one of these pairs has the references for."""
        found = self.models.arms
        return {name: arm for name, arm in found.items() if len(_complete(arm, batch)) == len(batch)}

    def look(self, batch: pd.DataFrame) -> Truth:
        """What is known of these pairs before any is restored."""
        hr = images(self.curated, batch["row"].to_numpy(), self.models.device)
        place = [self._place[person] for person in batch["person"]]
        return self.judge.look(hr, reduce(hr, self.models.scale), self.known[place])

    def score(self, name: str, arm: Arm, batch: pd.DataFrame, truth: Truth) -> Scores:
        """One arm of these pairs, measured: by all judges where it is a main one."""
        ref = given(self.curated, arm, batch, truth.lr)
        size = self.curated.hr_size
        sr = to_8_bits(restore(self.models, arm, truth.lr, ref, size))
        if name not in MAIN:
            return self.judge.cheap(sr, truth)
        turned = sr
        if arm.model != "bicubic":  # which is the same from all eight sides
            turned = to_8_bits(self_ensemble(lambda x, y: restore(self.models, arm, x, y, size), truth.lr, ref))
        return self.judge.full(sr, turned, truth)

    def true_images(self, most: int, seed: int) -> tuple[np.ndarray, str]:
        """(textures (M, 512) of up to `most` images of the training split, drawn by `seed`; their name in words)."""
        rows = self.curated.split("train")
        rows = np.random.default_rng(seed).permutation(rows)[:most]
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        seen = [self.judge.texture(images(self.curated, chunk, self.models.device)).cpu().numpy() for chunk in chunks]
        told = f"{len(rows)} true images of the training split, other people"
        return (np.concatenate(seen) if seen else np.empty((0, 0))), told

    def identity_scale(self, hr: np.ndarray) -> dict[str, float]:
        """What a cosine means on these images: embeddings of HR (N, 128) against the reference of everyone.

        `same_person` is the mean over the pairs of one person, `strangers` over all others.
        """
        cosine = (F.normalize(torch.from_numpy(hr)) @ F.normalize(self.known.cpu()).T).numpy()
        same = self.test["person"].to_numpy()[:, None] == self.references["person"].to_numpy()[None]
        return {"same_person": float(cosine[same].mean()), "strangers": float(cosine[~same].mean())}

    def _embed(self, rows: np.ndarray) -> torch.Tensor:
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        return torch.cat([self.judge.embed(images(self.curated, chunk, self.models.device)) for chunk in chunks])


def measure(bench: Bench, batch_size: int) -> Measured:
    """All arms of all pairs."""
    tables: list[pd.DataFrame] = []
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)
    textures: dict[str, list[torch.Tensor]] = defaultdict(list)
    starts = range(0, len(bench.test), batch_size)
    for start in track(starts, total=len(starts), desc="evaluated", unit="batch"):
        batch = bench.test.iloc[start : start + batch_size].reset_index(drop=True)
        truth = bench.look(batch)
        seen["hr"].append(truth.identity)
        textures["hr"].append(truth.vgg[-1].mean((2, 3)))
        for name, arm in bench.models.arms.items():
            rows = _complete(arm, batch)
            if not len(rows):
                continue
            scores = bench.score(name, arm, batch.iloc[rows], truth.of(torch.from_numpy(rows)))
            tables.append(_table(batch.iloc[rows], name, scores))
            if scores.texture is not None:
                seen[name].append(scores.identity)
                textures[name].append(scores.texture)
    return Measured(pd.concat(tables, ignore_index=True), _joined(seen), _joined(textures))


def _complete(arm: Arm, batch: pd.DataFrame) -> np.ndarray:
    """The positions in a batch of the pairs that have all references of an arm."""
    columns = [name for name in arm.references if name != "lr"]
    return np.flatnonzero((batch[columns] != MISSING).all(axis=1).to_numpy())


def _table(batch: pd.DataFrame, name: str, scores: Scores) -> pd.DataFrame:
    columns = {key: value.double().cpu().numpy() for key, value in scores.values.items()}
    rows = batch[["person", "source", "row", "wrong_person"]].reset_index(drop=True)
    return rows.assign(arm=name, **columns)


def _joined(chunks: dict[str, list[torch.Tensor]]) -> dict[str, np.ndarray]:
    return {name: torch.cat(parts).cpu().numpy() for name, parts in chunks.items()}
