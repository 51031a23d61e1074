"""Write a curated set, or a part of one, from the features of a raw set."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from refsr.config import Curate
from refsr.curation import partition, planted_defects
from refsr.curation.collector import FeatureCollector
from refsr.curation.detection import Embed
from refsr.curation.extraction import Detector
from refsr.curation.pipeline import curate_images, first_round, unread
from refsr.curation.splits import draw
from refsr.dataset import framing
from refsr.dataset.pixel_shards import place, write_shards
from refsr.dataset.schema import REJECTS, conform
from refsr.errors import RefsrError
from refsr.io.own_files import write_parquet
from refsr.layouts.registry import AUTO
from refsr.layouts.tree import Tree
from refsr.progress import track
from refsr.share import Share

_UNNAMED = "vggface2"  # the layout of a summary that names none
_ROW_GROUP = 2**14  # rows of a table that its writer holds at a time


def write_curated(
    params: Curate,
    raw: str | Path,
    curated: Path,
    embed: Embed,
    workers: int,
    joined: Sequence[Path] = (),
    detector: Detector | None = None,
    *,
    layout: str = AUTO,
    keep_work: bool = False,
) -> dict[str, float]:
    """Curate a raw set into a folder. The bytes are the same for any `workers` and any parts.

    Args:
        params: The section `curate`.
        raw: Path or URI of the raw set.
        curated: The output; features that a killed run left there are not extracted again.
        embed: The identity network.
        workers: Processes that extract features.
        joined: Parts of this set, whose features are not extracted again.
        detector: Detects faces, and rejects chips that show none.
        layout: How the raw set is laid out; see refsr.layouts.
        keep_work: Keep the features in the folder, for whoever puts it in its place.

    Returns:
        The summary, and `images_per_second` of the images whose features were extracted now.

    Raises:
        RefsrError: The raw set cannot be read, or no identity is left for a split.
    """
    started = time.perf_counter()
    collector = FeatureCollector(
        raw, curated, params, embed, workers, joined=joined, detector=detector, layout=layout
    )
    kept, rejected = _curate(collector, params)
    tree = collector.tree
    del tree.images  # as long as the raw set, and not needed any more
    _require_splits(kept, rejected, tree.source.uri)
    splits, lies = _write_kept(collector, kept, curated, params)
    rejects = sorted_rejects(rejected)
    write_parquet(rejects, curated / "rejects.parquet", _ROW_GROUP)
    planted = planted_defects.read_planted(tree.source)
    summary = summarise(splits, rejects) | _scores(planted, rejects, curated)
    facts = _facts(tree) | {"rendered": planted is not None}
    facts["people_compared"] = detector is not None and not collector.boxed
    document = summary | facts | _stated(params, lies)
    (curated / "summary.json").write_text(json.dumps(document, indent=2) + "\n")
    collector.close(keep=keep_work)
    return summary | {"images_per_second": _speed(collector, started)}


def write_part(
    params: Curate,
    raw: str | Path,
    folder: Path,
    embed: Embed,
    workers: int,
    share: Share,
    detector: Detector | None = None,
    layout: str = AUTO,
) -> dict[str, float]:
    """Extract the features of the identities of one part, those of the first round.

    Args:
        params: The section `curate`.
        raw: Path or URI of the raw set.
        folder: The output, to be joined by `write_curated`.
        embed: The identity network.
        workers: Processes that extract features.
        share: The part.
        detector: Detects faces, and rejects chips that show none.
        layout: How the raw set is laid out; see refsr.layouts.

    Returns:
        Counts of identities, images and rejects, and `images_per_second`.

    Raises:
        RefsrError: The raw set cannot be read.
    """
    started = time.perf_counter()
    collector = FeatureCollector(
        raw, folder, params, embed, workers, share, detector=detector, layout=layout
    )
    counts = _collect_part(collector, params, share)
    tree = collector.tree
    partition.write(folder, tree.source.signature, params, share, tree.layout)
    return counts | {"images_per_second": _speed(collector, started)}


def _collect_part(collector: FeatureCollector, params: Curate, share: Share) -> dict[str, float]:
    """Extract the features of a part; counts of its identities, images and rejects."""
    order = draw(collector.tree.images, params)
    identities = [key for key in first_round(order, params) if share.holds(key)]
    counts: dict[str, float] = {"identities": len(identities), "images": 0.0}
    if identities:
        table = collector.collect(identities).table
        counts["images"] = len(table)
        reasons = table["reason"].astype("str").value_counts()
        counts |= {f"rejects.{key}": float(n) for key, n in sorted(reasons.items()) if key}
        collector.slim()
    return counts


def _speed(collector: FeatureCollector, started: float) -> float:
    """Images per second since `started`."""
    return collector.extracted / (time.perf_counter() - started)


def _curate(collector: FeatureCollector, params: Curate) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(images kept, images left out); nothing else of them stays in memory.

    Images kept are sorted: by split as in SPLITS, the reference of an identity before its images.
    """
    tree = collector.tree
    table = curate_images(draw(tree.images, params), params, collector.collect)
    refused = tree.refused.rename(columns={"name": "source"})
    parts = [table.loc[table["reason"] != "", [*REJECTS]], unread(tree, table), refused]
    kept = table[table["reason"] == ""]
    keys, ascending = ["split", "identity", "role", "source"], [True, True, False, True]
    kept = kept.sort_values(keys, ascending=ascending)
    shard, index = place(len(kept), params.shard_images)
    rejected = pd.concat([part[[*REJECTS]] for part in parts], ignore_index=True)
    return kept.assign(shard=shard, index=index), rejected


def _write_kept(
    collector: FeatureCollector,
    kept: pd.DataFrame,
    curated: Path,
    params: Curate,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Write pixels and manifest; returns the columns split and identity, and how faces lie."""
    side, count = params.hr_size, len(kept)
    crops = collector.store.crops(kept, side)
    images = track(crops, total=count, desc="written", unit="image")
    write_shards(curated, images, count, side, params.shard_images, params.shards)
    manifest = collector.store.complete(kept)
    write_parquet(manifest, curated / "manifest.parquet", _ROW_GROUP)
    return manifest[["split", "identity"]], framing.summary(manifest, side)


def sorted_rejects(rejected: pd.DataFrame) -> pd.DataFrame:
    """The table of rejects, sorted by source.

    Columns are removed from `rejected` one by one, so that no two copies of all are in memory.
    """
    order = rejected["source"].astype("str").array.argsort()
    columns = []
    for name, column in REJECTS.items():
        values = rejected.pop(name).iloc[order].to_frame()
        columns.append(conform(values, {name: column}))
    return pd.concat(columns, axis="columns")


def _facts(tree: Tree) -> dict[str, Any]:
    """Facts of the raw set for the summary; a set without metadata also names its layout."""
    facts: dict[str, Any] = {"empty_identities": tree.empty}
    if tree.layout != _UNNAMED:
        facts |= {"layout": tree.layout, "images_outside": tree.strays}
    return facts


def _stated(params: Curate, lies: dict[str, float]) -> dict[str, Any]:
    """What the summary states only where there is something to state."""
    facts = {"framing": lies, "licence": params.licence, "anonymous": params.anonymous}
    return {name: value for name, value in facts.items() if value}


def _require_splits(kept: pd.DataFrame, rejected: pd.DataFrame, raw: str) -> None:
    """Check that there is somebody for training and testing; small sets validate on nobody."""
    for split in ("train", "test"):
        if (kept["split"] == split).any():
            continue
        reasons = rejected["reason"].value_counts()
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise RefsrError(
            f"{raw}: no identity is left for {split}; images left out: {counts or 'none'}. "
            "Use a raw set with more identities, or relax the limits of `curate` in the params file"
        )


def summarise(manifest: pd.DataFrame, rejects: pd.DataFrame) -> dict[str, float]:
    """Counts as metrics."""
    counts: dict[str, Any] = {}
    for split, rows in manifest.groupby("split", sort=True):
        counts[f"identities.{split}"] = rows["identity"].nunique()
        counts[f"images.{split}"] = len(rows)
    for reason, count in sorted(rejects["reason"].value_counts().items()):
        counts[f"rejects.{reason}"] = count
    return {key: float(value) for key, value in counts.items()}


def _scores(planted: pd.DataFrame | None, rejects: pd.DataFrame, curated: Path) -> dict[str, float]:
    """Precision and recall where the planted defects are known."""
    if planted is None:
        return {}
    columns = planted_defects.OF_MANIFEST
    kept = pd.read_parquet(curated / "manifest.parquet", columns=list(columns))
    return planted_defects.score(planted, rejects, kept)
