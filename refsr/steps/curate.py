"""Raw set -> identity groups."""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from refsr.config import Curate
from refsr.data import parts, quality, spool, storage, truth
from refsr.data.curated import Curated
from refsr.data.curation import curate_images, draw, first_round, unread
from refsr.data.manifest import REJECTS, conform
from refsr.data.measurements import Detector, Embed
from refsr.data.measuring import Measuring
from refsr.data.parts import Share
from refsr.data.rows import give_back
from refsr.data.selection import most_candidates
from refsr.data.shards import place, write_shards
from refsr.data.sources import open_source
from refsr.data.vggface2 import METADATA, Tree, tells_sex
from refsr.errors import RefsrError
from refsr.models.pretrained import identity_network
from refsr.models.pretrained.mtcnn import SMALLEST, Certainty, Detect, face_certainty, face_detector
from refsr.steps import Raw, ResumableOutput
from refsr.tracker import Tracker

SHEET = (10, 8)  # identities and images of each on the contact sheet
_ROW_GROUP = 2**14  # rows of a table that its writer holds at a time


def curate(
    params: Curate, tracker: Tracker, *, raw: Raw, curated: ResumableOutput, shard: str = ""
) -> dict[str, float]:
    """Read the raw set, leave out what cannot be used, and write the identity groups (see refsr.data.curated).

    With `shard`, I/N, only what the I-th of N parts of the identities shows is measured, for `merge` to join. Raises
    RefsrError where the set or its metadata cannot be read, or nothing is left of a split.
    """
    if shard:
        return write_part(params, raw, curated, embed_faces, usable_cores(), parts.parse_share(shard), DETECTOR)
    summary = write_curated(params, raw, curated, embed_faces, usable_cores(), detector=DETECTOR, keep_work=True)
    record(tracker, curated)
    return summary


def preview(params: Curate, raw: str) -> dict[str, int | str]:
    """What `curate` would read: counts, archives and metadata of the raw set; no image is looked at."""
    with tempfile.TemporaryDirectory(prefix="refsr-preview-") as scratch:  # for what is wanted of a tar.gz
        tree = Tree(open_source(raw, Path(scratch), tells_sex))
    images, files = tree.images, tree.source.files
    order = draw(images, params)
    first = set(first_round(order, params))
    sizes = files["size"].to_numpy()[images["file"]]
    counts = images["identity"].value_counts()
    crops = int(counts[counts.index.isin(first)].clip(upper=most_candidates(params)).sum())
    packed = [storage.size_of(place) for place in tree.source.archives if spool.is_packed(place)]
    metadata = [files["name"].iloc[row] for pattern in METADATA for row in tree.find(pattern)]
    return {
        "identities": len(tree.identities),
        **{f"identities.{split}": len(keys) for split, keys in order.items()},
        "images": len(images),
        "bytes": int(sizes.sum()),
        "archives": ", ".join(Path(place).name for place in tree.source.archives) or "none",
        "metadata": ", ".join(metadata) or "none",
        "never read": len(tree.refused),
        "identities measured first": len(first),
        "images measured first": int(images["identity"].isin(first).sum()),
        "bytes measured first": int(sizes[images["identity"].isin(first)].sum()),
        "bytes of scratch disk": sum(packed) + crops * 3 * params.hr_size**2,
    }


def record(tracker: Tracker, curated: Path) -> None:
    """Show the tracker what came of it."""
    tracker.image(contact_sheet(Curated(curated)), "contact_sheet")
    for name in ("summary.json", "rejects.parquet"):
        tracker.artifact(curated / name)


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


@torch.inference_mode()
def embed_faces(chips: np.ndarray) -> np.ndarray:
    """Face chips (N, 150, 150, 3) uint8 RGB -> (N, 128) float32 by dlib's network."""
    embeddings: np.ndarray = _identity_network()(torch.from_numpy(chips).permute(0, 3, 1, 2).float()).numpy()
    return embeddings


def find_face(image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Box (4,) and landmarks (5, 2), in pixels, of the likeliest face in an image (H, W, 3) uint8 RGB."""
    faces = _face_detector()(image, SMALLEST)
    return (faces.boxes[0], faces.points[0]) if len(faces.boxes) else None


def face_probability(chips: np.ndarray) -> np.ndarray:
    """Face chips (N, 150, 150, 3) uint8 RGB -> (N,) how probable it is that each shows a face, by its middle."""
    margin = round(quality.CHIP * (1 - 1 / quality.CHIP_FACTOR) / 2)
    return _face_certainty()(chips[:, margin:-margin, margin:-margin])


DETECTOR = Detector(find_face, face_probability)


@cache
def _face_detector() -> Detect:
    return face_detector()


@cache
def _face_certainty() -> Certainty:
    return face_certainty()


@cache
def _identity_network() -> torch.nn.Module:
    return identity_network()


def write_curated(
    params: Curate,
    raw: str | Path,
    curated: Path,
    embed: Embed,
    workers: int,
    joined: Sequence[Path] = (),
    detector: Detector | None = None,
    *,
    keep_work: bool = False,
) -> dict[str, float]:
    """All of a curated folder; its summary and `images_per_second`, of those measured now.

    What is found in `curated` of a run that was killed, or in the parts `joined`, is not measured again. The bytes are
    the same for any `workers` and any parts. With `keep_work` that stays in the folder, for who puts it in its place.
    """
    started = time.perf_counter()
    measuring = Measuring(raw, curated, params, embed, workers, joined=joined, detector=detector)
    tree = measuring.tree
    kept, gone = _decided(measuring, params)
    del tree.images  # as long as the raw set, like `gone`, and needed no more
    give_back()
    _require_both_splits(kept, gone, tree.source.uri)
    crops = tqdm(measuring.store.crops(kept, params.hr_size), total=len(kept), desc="curate: write", unit="image")
    write_shards(curated, iter(crops), len(kept), params.hr_size, params.shard_images, params.shards)
    manifest = measuring.store.complete(kept)
    manifest.to_parquet(curated / "manifest.parquet", index=False, row_group_size=_ROW_GROUP)
    manifest = manifest[["split", "identity"]]  # the rest is long, and not asked for in the summary
    give_back()
    rejects = sorted_rejects(gone)
    rejects.to_parquet(curated / "rejects.parquet", index=False, row_group_size=_ROW_GROUP)
    planted = truth.read_planted(tree.source)
    summary = summarise(manifest, rejects, planted)
    document = summary | {"empty_identities": tree.empty, "rendered": planted is not None}
    (curated / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    measuring.close(keep=keep_work)
    return summary | {"images_per_second": measuring.count / (time.perf_counter() - started)}


def write_part(
    params: Curate,
    raw: str | Path,
    folder: Path,
    embed: Embed,
    workers: int,
    share: Share,
    detector: Detector | None = None,
) -> dict[str, float]:
    """What the first round measures of the identities of `share`."""
    started = time.perf_counter()
    measuring = Measuring(raw, folder, params, embed, workers, share, detector=detector)
    mine = [key for key in first_round(draw(measuring.tree.images, params), params) if share.holds(key)]
    counts: dict[str, float] = {"identities": len(mine), "images": 0.0}
    if mine:
        table = measuring.measure(mine).table
        counts["images"] = len(table)
        counts |= {
            f"rejects.{key}": float(n) for key, n in sorted(table["reason"].astype("str").value_counts().items()) if key
        }
        measuring.slim()
    parts.write(folder, measuring.tree.source.signature, params, share)
    return counts | {"images_per_second": measuring.count / (time.perf_counter() - started)}


def _decided(measuring: Measuring, params: Curate) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(what is kept, what is left out); of all else that was known of the images nothing stays in memory.

    What is kept is sorted: train before test, an identity's reference before its images.
    """
    tree = measuring.tree
    table = curate_images(tree.images, draw(tree.images, params), params, measuring.measure)
    refused = tree.refused.rename(columns={"name": "source"})
    gone = [table.loc[table["reason"] != "", [*REJECTS]], unread(tree, table), refused]
    kept = table[table["reason"] == ""]
    kept = kept.sort_values(["split", "identity", "role", "source"], ascending=[False, True, False, True])
    shard, index = place(len(kept), params.shard_images)
    return kept.assign(shard=shard, index=index), pd.concat([part[[*REJECTS]] for part in gone], ignore_index=True)


def sorted_rejects(gone: pd.DataFrame) -> pd.DataFrame:
    """The table of rejects, by source; columns are taken out of `gone` one by one, lest all be there twice."""
    order = gone["source"].astype("str").array.argsort()
    columns = [conform(gone.pop(name).iloc[order].to_frame(), {name: column}) for name, column in REJECTS.items()]
    return pd.concat(columns, axis="columns")


def _require_both_splits(kept: pd.DataFrame, gone: pd.DataFrame, raw: str) -> None:
    for split in ("train", "test"):
        if not (kept["split"] == split).any():
            counts = ", ".join(f"{count} {reason}" for reason, count in gone["reason"].value_counts().items())
            raise RefsrError(
                f"{raw}: no identity is left for {split}; left out were {counts or 'no images'}. "
                "Name a raw set with more identities, or ease the limits of `curate` in the params file"
            )


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
