"""The main conditions on small photos that no clean bicubic made."""

from typing import Any

import pandas as pd
import torch

from refsr.dataset.small_photos import WAYS, Way
from refsr.dataset.tensors import to_8_bits
from refsr.evaluation import image_quality
from refsr.evaluation.batches import batches, seed_draws
from refsr.evaluation.conditions import MAIN
from refsr.evaluation.protocol import Bench, references_of, require_numbers, restore
from refsr.evaluation.statistics import bootstrap
from refsr.models.pretrained import identity_similarity
from refsr.progress import track

MEASURES = ("psnr", "identity")


def degraded(bench: Bench, most: int, batch_size: int, seed: int) -> pd.DataFrame:
    """A row per way, condition and image, of up to `most` images of each person.

    Columns: `way`, `arm` (the condition), `person` and MEASURES. No row where `most` is 0.
    """
    nth = bench.test.groupby("person", sort=False).cumcount()
    parts = batches(bench.test.assign(nth=nth.to_numpy()), batch_size) if most else []
    tables = []
    for batch in track(parts, total=len(parts), desc="degraded", unit="batch"):
        chosen = batch[batch["nth"] < most].reset_index(drop=True)
        if len(chosen):
            seed_draws(seed, "degraded", chosen["source"].iloc[0])
            tables.append(_ways(bench, chosen))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _ways(bench: Bench, batch: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for way, make in WAYS.items():
        for condition, each in _batch(bench, make, batch).items():
            each["way"], each["arm"] = way, condition
            rows.append(each)
    return pd.concat(rows, ignore_index=True)


def robustness(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{way: {condition: {psnr, identity}}}, intervals over people, of the rows of `degraded`."""
    groups = rows.groupby(["way", "arm"], sort=False) if len(rows) else ()
    result: dict[str, Any] = {}
    for (way, condition), each in groups:
        result.setdefault(str(way), {})[str(condition)] = _means(each, resamples, seed)
    return result


@torch.inference_mode()
def _batch(bench: Bench, way: Way, batch: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Condition -> person, PSNR and identity of each image."""
    hr, lr = way(bench.images(batch["row"].to_numpy()), bench.models.scale)
    true, size = bench.scorer.embed(hr), bench.curated.hr_size
    measured = {}
    for name, condition in bench.models.conditions.items():
        if name not in MAIN:
            continue
        ref = references_of(bench.curated, condition, batch, lr)
        sr = restore(bench.models, condition, lr, ref, size)
        require_numbers(sr, name, batch["source"])
        sr = to_8_bits(sr)
        identity = identity_similarity(bench.scorer.embed(sr), true)
        values = {"psnr": image_quality.psnr(sr, hr), "identity": identity}
        columns = {key: value.double().cpu().numpy() for key, value in values.items()}
        measured[name] = pd.DataFrame({"person": batch["person"], **columns})
    return measured


def _means(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, dict[str, float]]:
    people = rows.groupby("person")[[*MEASURES]].mean()
    return {key: bootstrap(people[key].to_numpy(), resamples, seed) for key in MEASURES}
