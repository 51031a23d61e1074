"""Write a curated set, or a part of one, from the features of a raw set."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from refsr.config import Curate
from refsr.curation import partition, planted_defects
from refsr.curation.collector import Measuring
from refsr.curation.extraction import Detector, Embed
from refsr.curation.partition import Share
from refsr.curation.pipeline import curate_images, first_round, unread
from refsr.curation.splits import draw
from refsr.dataset.pixel_shards import place, write_shards
from refsr.dataset.schema import REJECTS, conform
from refsr.errors import RefsrError
from refsr.io.arrays import give_back
from refsr.layouts.registry import AUTO
from refsr.layouts.tree import Tree
from refsr.progress import track

_UNNAMED = "vggface2"  # a summary that names no layout is of this one
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
    """All of a curated folder; its summary and `images_per_second`, of those measured now.

    What is found in `curated` of a run that was killed, or in the parts `joined`, is not measured again. The bytes are
    the same for any `workers` and any parts. With `keep_work` that stays in the folder, for who puts it in its place.
    """
    started = time.perf_counter()
    measuring = Measuring(raw, curated, params, embed, workers, joined=joined, detector=detector, layout=layout)
    tree = measuring.tree
    kept, gone = _decided(measuring, params)
    del tree.images  # as long as the raw set, like `gone`, and needed no more
    give_back()
    _require_both_splits(kept, gone, tree.source.uri)
    crops = measuring.store.crops(kept, params.hr_size)
    crops = track(crops, total=len(kept), desc="written", unit="image")
    write_shards(curated, crops, len(kept), params.hr_size, params.shard_images, params.shards)
    manifest = measuring.store.complete(kept)
    manifest.to_parquet(curated / "manifest.parquet", index=False, row_group_size=_ROW_GROUP)
    manifest = manifest[["split", "identity"]]  # the rest is long, and not asked for in the summary
    give_back()
    rejects = sorted_rejects(gone)
    rejects.to_parquet(curated / "rejects.parquet", index=False, row_group_size=_ROW_GROUP)
    planted = planted_defects.read_planted(tree.source)
    summary = summarise(manifest, rejects, planted)
    document = summary | _facts(tree) | {"rendered": planted is not None}
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
    layout: str = AUTO,
) -> dict[str, float]:
    """What the first round measures of the identities of `share`."""
    started = time.perf_counter()
    measuring = Measuring(raw, folder, params, embed, workers, share, detector=detector, layout=layout)
    mine = [key for key in first_round(draw(measuring.tree.images, params), params) if share.holds(key)]
    counts: dict[str, float] = {"identities": len(mine), "images": 0.0}
    if mine:
        table = measuring.measure(mine).table
        counts["images"] = len(table)
        counts |= {
            f"rejects.{key}": float(n) for key, n in sorted(table["reason"].astype("str").value_counts().items()) if key
        }
        measuring.slim()
    tree = measuring.tree
    partition.write(folder, tree.source.signature, params, share, tree.layout)
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


def _facts(tree: Tree) -> dict[str, Any]:
    """What the summary says of the raw set; a set without metadata says how it was read."""
    facts: dict[str, Any] = {"empty_identities": tree.empty}
    if tree.layout != _UNNAMED:
        facts |= {"layout": tree.layout, "images_outside": tree.strays}
    return facts


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
    scores = {} if planted is None else planted_defects.score(planted, rejects)
    return {key: float(value) for key, value in counts.items()} | scores
