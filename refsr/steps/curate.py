"""Raw tree -> identity groups."""

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from refsr.config import Curate
from refsr.data import curation, truth
from refsr.data.curated import Curated
from refsr.data.manifest import MANIFEST, REJECTS, conform
from refsr.data.measure import hr_crop
from refsr.data.measurements import CHUNK, Embed, Read, in_threads, measure
from refsr.data.shards import place, write_shards
from refsr.data.vggface2 import BOX, LANDMARKS, Tree
from refsr.errors import RefsrError
from refsr.models.pretrained import identity_network
from refsr.steps import Input, Output
from refsr.tracker import Tracker

SHEET = (10, 8)  # identities and images of each on the contact sheet


def curate(params: Curate, tracker: Tracker, *, raw: Input, curated: Output) -> dict[str, float]:
    """Read the raw tree, leave out what cannot be used, and write the identity groups (see refsr.data.curated).

    Raises RefsrError where the tree or its metadata cannot be read, or nothing is left of a split.
    """
    workers = len(os.sched_getaffinity(0))
    summary = write_curated(params, raw, curated, identity_embedder(), workers)
    tracker.image(contact_sheet(Curated(curated)), "contact_sheet")
    for name in ("summary.json", "rejects.parquet"):
        tracker.artifact(curated / name)
    return summary


def write_curated(params: Curate, raw: Path, curated: Path, embed: Embed, workers: int) -> dict[str, float]:
    """All of a curated folder, the same bytes for any `workers`; its summary and `images_per_second`."""
    started = time.perf_counter()
    tree = Tree(raw)
    images = curation.describe(tree)

    def read(source: str) -> bytes:
        return (raw / source).read_bytes()

    look = partial(measure, read=read, embed=embed, params=params, workers=workers)
    table = curation.curate_images(images, curation.draw(images, params), params, look)
    manifest, rejects = split_table(table, params)
    _require_both_splits(manifest, rejects, raw)
    curated.mkdir(parents=True)
    _write_pixels(curated, manifest, read, params, workers)
    manifest.to_parquet(curated / "manifest.parquet", index=False)
    rejects.to_parquet(curated / "rejects.parquet", index=False)
    summary = summarise(manifest, rejects, truth.read_planted(raw))
    empty = sorted(set(tree.identities) - set(images["identity"]))
    document = summary | {"empty_identities": empty, "rendered": (raw / truth.PLANTED).is_file()}
    (curated / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    return summary | {"images_per_second": len(images) / (time.perf_counter() - started)}


def identity_embedder() -> Embed:
    """Face chips (N, 150, 150, 3) uint8 RGB -> (N, 128) float32 by dlib's network."""
    network = identity_network()

    @torch.inference_mode()
    def embed(chips: np.ndarray) -> np.ndarray:
        embeddings: np.ndarray = network(torch.from_numpy(chips).permute(0, 3, 1, 2).float()).numpy()
        return embeddings

    return embed


def split_table(table: pd.DataFrame, params: Curate) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(manifest, rejects), sorted: train before test, an identity's reference before its images."""
    kept, gone = table[table["reason"] == ""], table[table["reason"] != ""]
    kept = kept.sort_values(["split", "identity", "role", "source"], ascending=[False, True, False, True])
    shard, index = place(len(kept), params.shard_images)
    return conform(kept.assign(shard=shard, index=index), MANIFEST), conform(gone.sort_values("source"), REJECTS)


def _require_both_splits(manifest: pd.DataFrame, rejects: pd.DataFrame, raw: Path) -> None:
    for split in ("train", "test"):
        if not (manifest["split"] == split).any():
            counts = ", ".join(f"{count} {reason}" for reason, count in rejects["reason"].value_counts().items())
            raise RefsrError(
                f"{raw}: no identity is left for {split}; left out were {counts or 'no images'}. "
                "Name a raw set with more identities, or ease the limits of `curate` in the params file"
            )


def _write_pixels(folder: Path, manifest: pd.DataFrame, read: Read, params: Curate, workers: int) -> None:
    boxes = manifest[list(BOX)].to_numpy(np.float64)
    points = manifest[list(LANDMARKS)].to_numpy(np.float64).reshape(-1, 5, 2)
    jobs = list(zip(manifest["source"], boxes, points, strict=True))
    chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
    crops = in_threads(lambda chunk: [hr_crop(read(job[0]), *job[1:], params) for job in chunk], chunks, workers)
    with tqdm((hr for part in crops for hr in part), total=len(jobs), desc="curate: write", unit="image") as images:
        write_shards(folder, iter(images), len(jobs), params.hr_size, params.shard_images)


def summarise(manifest: pd.DataFrame, rejects: pd.DataFrame, planted: pd.DataFrame | None) -> dict[str, float]:
    """Counts as metrics, and precision and recall where the planted truth is known."""
    counts: dict[str, Any] = {}
    for split, rows in manifest.groupby("split", sort=True):
        counts |= {f"identities.{split}": rows["identity"].nunique(), f"images.{split}": len(rows)}
    counts |= {f"rejects.{reason}": count for reason, count in sorted(rejects["reason"].value_counts().items())}
    scores = {} if planted is None else truth.score(planted, rejects)
    return {key: float(value) for key, value in counts.items()} | scores


def contact_sheet(curated: Curated) -> np.ndarray:
    """References, framed, and images of some identities, a row each: (H, W, 3) uint8 RGB."""
    manifest = curated.table
    identities = manifest.drop_duplicates("identity")["identity"]
    chosen = identities.iloc[np.unique(np.linspace(0, len(identities) - 1, SHEET[0]).astype(int))]
    return np.concatenate(
        [_sheet_row(curated, np.flatnonzero(manifest["identity"] == key)[: SHEET[1]]) for key in chosen]
    )


def _sheet_row(curated: Curated, rows: np.ndarray) -> np.ndarray:
    images = curated.pixels(rows)
    cv2.rectangle(images[0], (0, 0), (curated.hr_size - 1, curated.hr_size - 1), (255, 176, 0), 2)
    blank = np.full((SHEET[1] - len(images), *images.shape[1:]), 255, np.uint8)
    return np.concatenate([*images, *blank], axis=1)
