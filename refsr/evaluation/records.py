"""All that is measured image by image. Every number of an evaluation follows from it.

FOLDER/images.parquet, ratings.parquet, degraded.parquet  the tables of `Records`
FOLDER/features.npz                                       its arrays, by KIND.NAME
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from refsr.config import Evaluate
from refsr.evaluation.compatibility import ratings
from refsr.evaluation.protocol import Bench, Measured, measure
from refsr.evaluation.robustness import degraded
from refsr.evaluation.samples import Latents, latents
from refsr.io.own_files import reading

TABLES = ("images", "ratings", "degraded")
FEATURES = "features.npz"


@dataclass(frozen=True)
class Records:
    """The images of an evaluation, in the order of its pairs. A table may have no row."""

    measured: Measured
    ratings: pd.DataFrame  # see `compatibility.ratings`
    degraded: pd.DataFrame  # see `robustness.degraded`
    latents: Latents

    @property
    def sources(self) -> list[str]:
        """The images that were measured, in order."""
        table = self.measured.table
        return [] if table.empty else table.loc[table["arm"] == "bicubic", "source"].tolist()


def record(bench: Bench, params: Evaluate) -> Records:
    """Measure all images of a bench, of which there is at least one."""
    size, seed = params.batch_size, params.seed
    return Records(
        measure(bench, size, seed=seed),
        ratings(bench, size),
        degraded(bench, params.robustness, size, seed),
        latents(bench.curated, bench.models, bench.test, size, seed),
    )


def save(records: Records, folder: Path) -> None:
    """Write them into a folder."""
    tables = (records.measured.table, records.ratings, records.degraded)
    for name, table in zip(TABLES, tables, strict=True):
        table.to_parquet(folder / f"{name}.parquet", index=False)
    arrays = {f"latent.{key}": each for key, each in records.latents._asdict().items()}
    for kind in ("identity", "texture"):
        of_kind = getattr(records.measured, kind)
        arrays |= {f"{kind}.{name}": each for name, each in of_kind.items()}
    np.savez(folder / FEATURES, allow_pickle=False, **arrays)


def load(folder: Path, stage: str) -> Records:
    """Read them. Raises RefsrError, naming the file and `stage`, where one is damaged."""
    tables = []
    for name in TABLES:
        path = folder / f"{name}.parquet"
        with reading(path, stage):
            tables.append(pd.read_parquet(path))
    with reading(folder / FEATURES, stage), np.load(folder / FEATURES) as file:
        arrays = dict(file)
        identity, texture, latent = (
            {
                key.partition(".")[2]: each
                for key, each in arrays.items()
                if key.startswith(f"{kind}.")
            }
            for kind in ("identity", "texture", "latent")
        )
        measured = Measured(tables[0], identity, texture)
        return Records(measured, tables[1], tables[2], Latents(**latent))


def join(parts: Sequence[Records]) -> Records:
    """The records of all parts, in their order; each has at least one image."""
    concat = partial(pd.concat, ignore_index=True)
    measured = [part.measured for part in parts]
    return Records(
        Measured(
            concat([each.table for each in measured]),
            _joined([each.identity for each in measured]),
            _joined([each.texture for each in measured]),
        ),
        concat([part.ratings for part in parts]),
        concat([part.degraded for part in parts]),
        Latents(*map(np.concatenate, zip(*(part.latents for part in parts), strict=True))),
    )


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
