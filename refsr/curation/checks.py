"""A curated set as tables to hold expectations against: its manifest, its identities, and pixels read back."""

from pathlib import Path

import numpy as np
import pandas as pd

from refsr.curation import duplicates, image_stats
from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import Shard
from refsr.dataset.schema import columns_of
from refsr.errors import RefsrError

COPY_BITS = 8  # Hamming distance of two difference hashes up to which thumbnails are compared
_JPEG_BITS = 4  # of a hash that may change where pixels are stored as JPEGs
COPY_LIKENESS = 0.95  # of two HR images from which on they are one picture; see duplicates.likeness


def tables(curated: Curated, sample: int, seed: int) -> dict[str, pd.DataFrame]:
    """The tables by name; only "schema", the manifest as it is, where its columns or types are not the manifest's."""
    manifest = curated.table
    expected = {name: column.dtype for name, column in columns_of(manifest.columns).items()}
    if {key: str(dtype) for key, dtype in manifest.dtypes.items()} != expected:
        return {"schema": manifest}
    images = _images(curated)
    present = np.flatnonzero((images["index"] >= 0) & (images["index"] < images["shard_rows"]))
    sampled = np.random.default_rng(seed).permutation(present)[:sample]
    return {
        "schema": manifest,
        "images": images.assign(copy_in_other_split=_crossing_copies(curated, present)),
        "identities": _identities(manifest),
        "totals": _totals(manifest),
        "pixels": _pixels(curated, np.sort(sampled)),
    }


def _images(curated: Curated) -> pd.DataFrame:
    """The manifest with the far edges of the boxes, and `shard_rows`, the images in the shard a row names (0: none)."""
    table = curated.table
    size = curated.hr_size
    rows = {shard: _shard_rows(curated.folder / f"hr-{shard:05d}.npy", size) for shard in table["shard"].unique()}
    # The sum of two float32 may pass the true edge by a rounding.
    right, bottom = (table["x"] + table["w"]).round(2), (table["y"] + table["h"]).round(2)
    return table.assign(right=right, bottom=bottom, shard_rows=table["shard"].map(rows))


def _shard_rows(path: Path, size: int) -> int:
    """The images of a shard; none where it is missing or does not hold images of this size."""
    try:
        shard = Shard(path)
        return len(shard) if shard.size() == size else 0
    except (OSError, ValueError, RefsrError):
        return 0


def _crossing_copies(curated: Curated, present: np.ndarray) -> list[str]:
    """For each row of the table the source of a copy of it in the other split, or nothing."""
    table = curated.table
    copies = [""] * len(table)
    pairs = present[duplicates.close_hashes(table["dhash"].to_numpy()[present], COPY_BITS)]
    split, source = table["split"].to_numpy(), table["source"].to_numpy()
    pairs = pairs[split[pairs[:, 0]] != split[pairs[:, 1]]]
    first, second = (np.array([image_stats.thumbnail(hr) for hr in curated.pixels(side)]) for side in pairs.T)
    same = duplicates.likeness(first, second) >= COPY_LIKENESS if len(pairs) else np.empty(0, bool)
    for a, b in pairs[same]:
        copies[a], copies[b] = source[b], source[a]
    return copies


def _identities(manifest: pd.DataFrame) -> pd.DataFrame:
    """A row per identity: split, number of splits it is in, of references, and of images beside them."""
    facts = manifest.assign(is_reference=manifest["role"] == "reference", is_image=manifest["role"] == "image")
    return facts.groupby("identity", sort=True, as_index=False).agg(
        split=("split", "first"),
        splits=("split", "nunique"),
        references=("is_reference", "sum"),
        images=("is_image", "sum"),
    )


def _totals(manifest: pd.DataFrame) -> pd.DataFrame:
    counts = {
        f"{split}_identities": manifest.loc[manifest["split"] == split, "identity"].nunique()
        for split in ("train", "test")
    }
    return pd.DataFrame([counts])


def _pixels(curated: Curated, rows: np.ndarray) -> pd.DataFrame:
    """What the pixels themselves say, by image."""
    pixels, entries = curated.pixels(rows), curated.table.iloc[rows]
    grey = image_stats.miniatures(pixels)
    bits = np.bitwise_count(image_stats.difference_hash(grey) ^ entries["dhash"].to_numpy()).astype(int)
    bits[bits <= (_JPEG_BITS if curated.is_lossy else 0)] = 0
    facts = {"contrast": np.ptp(pixels, axis=(1, 2, 3)), "sharpness": image_stats.sharpness(grey), "hash_bits": bits}
    return pd.DataFrame({"source": entries["source"].to_numpy()} | facts)
