"""The protocol: restore every held-out image in every condition, and measure it against HR.

`refsr.evaluation.conditions` lists the conditions, `metrics` the metrics, `pairing` chooses the
references. Outputs are clamped and rounded to 8 bits before they are measured, as a saved file is.
"""

import copy
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.dataset.tensors import to_8_bits, to_images
from refsr.errors import RefsrError
from refsr.evaluation.batches import batches, seed_draws
from refsr.evaluation.conditions import MAIN, Condition, title_of
from refsr.evaluation.ensemble import self_ensemble
from refsr.evaluation.kid import texture
from refsr.evaluation.networks import Models, draws_by_mode
from refsr.evaluation.outputs import Truth
from refsr.evaluation.pairing import MISSING, add_lookalikes
from refsr.evaluation.scoring import Scorer, Scores
from refsr.progress import track

CHUNK = 32  # references embedded at a time


@dataclass(frozen=True)
class Measured:
    """The result. Arrays are of the main conditions and of "hr", in the order of the pairs.

    `table` has a row per image and condition: `person`, `source`, `row`, `arm` (the condition) and
    the metrics, NaN where not taken.
    """

    table: pd.DataFrame
    identity: dict[str, np.ndarray]  # (N, 128)
    texture: dict[str, np.ndarray]  # (N, 512)


def images(curated: Curated, rows: np.ndarray, device: str) -> torch.Tensor:
    """The images of these rows, (N, 3, H, H) in [0, 1]."""
    return to_images(curated.pixels(rows), device)


def references_of(
    curated: Curated,
    condition: Condition,
    batch: pd.DataFrame,
    lr: torch.Tensor,
) -> torch.Tensor | None:
    """The references of a condition for these pairs.

    None, (B, 3, H, H), or (B, R, 3, H, H) for several.
    """
    size = (curated.hr_size, curated.hr_size)
    refs = [
        to_8_bits(enlarge(lr, size))
        if name == "lr"
        else images(curated, batch[name].to_numpy(), str(lr.device))
        for name in condition.references
    ]
    if len(refs) < 2:
        return refs[0] if refs else None
    return torch.stack(refs, 1)


@torch.inference_mode()
def restore(
    models: Models,
    condition: Condition,
    lr: torch.Tensor,
    ref: torch.Tensor | None,
    size: int,
) -> torch.Tensor:
    """The output of a condition, (B, 3, H, H), H = `size`; neither clamped nor rounded."""
    if condition.model == "bicubic":
        return enlarge(lr, (size, size))
    model = models.networks[condition.model]
    if not condition.drawn:
        return model.upscale(lr, ref)
    if draws_by_mode(model):
        return model.upscale(lr, ref, mode="gaussian")  # type: ignore[call-arg]
    return model.upscale(lr, ref, temperature=1.0)


def require_numbers(values: torch.Tensor, name: str, sources: Iterable[str]) -> None:
    """Check that the outputs of a condition, a row for each source, are finite.

    A mean that skips them would be that of the other images.
    """
    finite = values.isfinite().flatten(1).all(1).tolist()
    for source, good in zip(sources, finite, strict=True):
        if not good:
            raise RefsrError(
                f"{source}: the output of {title_of(name)} holds NaN or infinity; "
                "train the model again, with a lower learning rate or a clipped gradient"
            )


class Bench:
    """The held-out images, the models and the scorer, prepared for measuring."""

    def __init__(
        self,
        curated: Curated,
        models: Models,
        scorer: Scorer,
        test: pd.DataFrame,
    ) -> None:
        self.curated, self.models, self.scorer = curated, models, scorer
        people = test.drop_duplicates("person")
        self.references = people[["person", "right"]].reset_index(drop=True)
        self.known = self._embed(self.references["right"].to_numpy())
        unit = F.normalize(self.known)
        cosine = (unit @ unit.T).cpu().numpy()
        self.test = add_lookalikes(test, self.references, cosine)
        self._place = {person: place for place, person in enumerate(self.references["person"])}

    def of(self, test: pd.DataFrame) -> "Bench":
        """The same bench for some of its images; everybody's references stay."""
        part = copy.copy(self)
        part.test = test
        return part

    def conditions(self, batch: pd.DataFrame) -> dict[str, Condition]:
        """The conditions that every one of these pairs has the references for."""
        return {
            name: each
            for name, each in self.models.conditions.items()
            if len(_complete(each, batch)) == len(batch)
        }

    def truth(self, batch: pd.DataFrame) -> Truth:
        """What is known of these pairs before any is restored."""
        hr = self.images(batch["row"].to_numpy())
        place = [self._place[person] for person in batch["person"]]
        return self.scorer.truth(hr, reduce(hr, self.models.scale), self.known[place])

    def score(
        self,
        name: str,
        condition: Condition,
        batch: pd.DataFrame,
        truth: Truth,
    ) -> Scores:
        """One condition of these pairs, measured: by all metrics where it is a main one."""
        ref = references_of(self.curated, condition, batch, truth.lr)
        size = self.curated.hr_size

        def upscale(lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
            return restore(self.models, condition, lr, ref, size)

        sr = upscale(truth.lr, ref)
        require_numbers(sr, name, batch["source"])
        sr = to_8_bits(sr)
        if name not in MAIN:
            return self.scorer.score(sr, truth)
        ensemble = sr
        if condition.model != "bicubic":  # which is the same from all eight sides
            ensemble = to_8_bits(self_ensemble(upscale, truth.lr, ref))
        return self.scorer.score(sr, truth, ensemble)

    def true_images(self, most: int, seed: int) -> tuple[np.ndarray, str]:
        """The reference set of the kernel distance: images of the training split.

        Returns:
            Textures (M, 512) of up to `most` images, drawn by `seed`; and the name of the set.
        """
        rows = self.curated.split("train")
        rows = np.random.default_rng(seed).permutation(rows)[:most]
        textures = [
            self.scorer.texture(self.images(chunk)).cpu().numpy() for chunk in _chunks(rows)
        ]
        title = f"{len(rows)} true images of the training split, other people"
        return (np.concatenate(textures) if textures else np.empty((0, 0))), title

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """The images of these rows, (N, 3, H, H) in [0, 1], on the device of the models."""
        return images(self.curated, rows, self.models.device)

    def identity_scale(self, hr: np.ndarray) -> dict[str, float]:
        """What a cosine means on these images, by embeddings of HR (N, 128) and of references.

        `same_person` is the mean over the pairs of one person, `strangers` over all others.
        """
        known = F.normalize(self.known.cpu())
        cosine = (F.normalize(torch.from_numpy(hr)) @ known.T).numpy()
        owners = self.references["person"].to_numpy()
        same = self.test["person"].to_numpy()[:, None] == owners[None]
        return {
            "same_person": float(cosine[same].mean()),
            "strangers": float(cosine[~same].mean()),
        }

    def true_similarity(self, hr: np.ndarray) -> pd.Series:
        """By source, the cosine of the embeddings of HR (N, 128) and of the right reference."""
        known = self.known.cpu()[[self._place[person] for person in self.test["person"]]]
        cosine = F.cosine_similarity(torch.from_numpy(hr), known).numpy()
        return pd.Series(cosine, index=self.test["source"].to_numpy())

    def _embed(self, rows: np.ndarray) -> torch.Tensor:
        return torch.cat([self.scorer.embed(self.images(chunk)) for chunk in _chunks(rows)])


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


class _Collected:
    """What `measure` gathers, batch by batch."""

    def __init__(self) -> None:
        self.tables: list[pd.DataFrame] = []
        self.identity: dict[str, list[torch.Tensor]] = defaultdict(list)
        self.texture: dict[str, list[torch.Tensor]] = defaultdict(list)

    def add_truth(self, truth: Truth) -> None:
        self.identity["hr"].append(truth.identity)
        self.texture["hr"].append(texture(truth.features["vgg16_hed"]))

    def add(self, name: str, batch: pd.DataFrame, scores: Scores) -> None:
        self.tables.append(_table(batch, name, scores))
        if scores.texture is not None:
            self.identity[name].append(scores.identity)
            self.texture[name].append(scores.texture)

    def joined(self) -> Measured:
        table = pd.concat(self.tables, ignore_index=True)
        return Measured(table, _joined(self.identity), _joined(self.texture))


def measure(
    bench: Bench, batch_size: int, only: Container[str] | None = None, seed: int = 0
) -> Measured:
    """All conditions of all pairs, or those that `only` names; `seed` is that of drawn ones."""
    collected = _Collected()
    parts = batches(bench.test, batch_size)
    for batch in track(parts, total=len(parts), desc="evaluated", unit="batch"):
        truth = bench.truth(batch)
        collected.add_truth(truth)
        for name, condition in bench.models.conditions.items():
            rows = _complete(condition, batch)
            if not len(rows) or (only is not None and name not in only):
                continue
            seed_draws(seed, name, batch["source"].iloc[0])
            part = batch.iloc[rows]
            scores = bench.score(name, condition, part, truth.of(torch.from_numpy(rows)))
            collected.add(name, part, scores)
    return collected.joined()


def _complete(condition: Condition, batch: pd.DataFrame) -> np.ndarray:
    """The positions in a batch of the pairs that have all references of a condition."""
    columns = [name for name in condition.references if name != "lr"]
    return np.flatnonzero((batch[columns] != MISSING).all(axis=1).to_numpy())


def _table(batch: pd.DataFrame, name: str, scores: Scores) -> pd.DataFrame:
    columns = {key: value.double().cpu().numpy() for key, value in scores.values.items()}
    rows = batch[["person", "source", "row", "wrong_person"]].reset_index(drop=True)
    rows["arm"] = name
    for key, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            source = rows["source"].iloc[bad[0]]
            raise RefsrError(
                f"{source}: {key} of {title_of(name)} is {values[bad[0]]}, which is no number; "
                "the pixels or the network that measures them are damaged"
            )
    return rows.assign(**columns)


def _joined(chunks: dict[str, list[torch.Tensor]]) -> dict[str, np.ndarray]:
    return {name: torch.cat(parts).cpu().numpy() for name, parts in chunks.items()}
