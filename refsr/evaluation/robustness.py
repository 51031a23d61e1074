"""The main conditions on small photos that no clean bicubic made."""

from collections import defaultdict
from typing import Any

import pandas as pd
import torch

from refsr.dataset.small_photos import WAYS, Way
from refsr.evaluation import image_quality
from refsr.evaluation.conditions import MAIN
from refsr.evaluation.protocol import Bench, references_of, require_numbers, restore, to_8_bits
from refsr.evaluation.statistics import bootstrap
from refsr.models.pretrained import identity_similarity
from refsr.progress import track

MEASURES = ("psnr", "identity")


def robustness(bench: Bench, most: int, batch_size: int, resamples: int, seed: int) -> Any:
    """{way: {condition: {psnr, identity}}}, intervals over people, of `most` images of each."""
    chosen = bench.test.groupby("person", sort=False).head(most)
    result: dict[str, Any] = {}
    for name, way in track(WAYS.items(), total=len(WAYS), desc="degraded", unit="way"):
        tables = defaultdict(list)
        for start in range(0, len(chosen), batch_size):
            batch = chosen.iloc[start : start + batch_size].reset_index(drop=True)
            for condition, rows in _batch(bench, way, batch).items():
                tables[condition].append(rows)
        result[name] = {
            condition: _means(pd.concat(rows), resamples, seed)
            for condition, rows in tables.items()
        }
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
