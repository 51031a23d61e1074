"""A curated set as tables to check: its manifest, its identities, and pixels read back."""

from pathlib import Path

import numpy as np
import pandas as pd

from refsr.curation import duplicates, hash_search, image_stats
from refsr.dataset.curated import Curated
from refsr.dataset.pixel_shards import Shard
from refsr.dataset.schema import SPLITS, columns_of
from refsr.errors import RefsrError

COPY_BITS = 8  # Hamming distance of difference hashes up to which thumbnails are compared
_JPEG_BITS = 4  # of a hash that may change where pixels are stored as JPEGs
COPY_LIKENESS = 0.95  # of two HR images from which on they are copies; see duplicates.likeness


def tables(curated: Curated, sample: int, seed: int) -> dict[str, pd.DataFrame]:
    """The tables by name: schema, images, identities, totals and pixels.

    `pixels` holds `sample` random images. Only "schema", the manifest as it is, is returned where
    its columns or types are wrong.
    """
    manifest = curated.table
    expected = {name: column.dtype for name, column in columns_of(manifest.columns).items()}
    if {key: str(dtype) for key, dtype in manifest.dtypes.items()} != expected:
        return {"schema": manifest}
    images = _images(curated)
    in_shard = (images["index"] >= 0) & (images["index"] < images["shard_rows"])
    present = np.flatnonzero(in_shard)
    sampled = np.random.default_rng(seed).permutation(present)[:sample]
    return {
        "schema": manifest,
        "images": images.assign(copy_in_other_split=_copies_across_splits(curated, present)),
        "identities": _identities(manifest),
        "totals": _totals(manifest),
        "pixels": _pixels(curated, np.sort(sampled)),
    }


def _images(curated: Curated) -> pd.DataFrame:
    """The manifest with `right` and `bottom` of the boxes, and `shard_rows`.

    `shard_rows` is the number of images in the row's shard, 0 where that cannot be read.
    """
    table, size = curated.table, curated.hr_size
    paths = {shard: curated.folder / f"hr-{shard:05d}.npy" for shard in table["shard"].unique()}
    rows = {shard: _shard_rows(path, size) for shard, path in paths.items()}
    # The sum of two float32 may exceed the true edge by a rounding error.
    right = (table["x"] + table["w"]).round(2)
    bottom = (table["y"] + table["h"]).round(2)
    return table.assign(right=right, bottom=bottom, shard_rows=table["shard"].map(rows))


def _shard_rows(path: Path, size: int) -> int:
    """The number of images in a shard; 0 where it is missing or its images have another size."""
    try:
        shard = Shard(path)
        return len(shard) if shard.side == size else 0
    except (OSError, ValueError, RefsrError):
        return 0


def _copies_across_splits(curated: Curated, present: np.ndarray) -> list[str]:
    """For each row of the table the source of a copy of it in another split, or ""."""
    table = curated.table
    copies = [""] * len(table)
    hashes = table["dhash"].to_numpy()[present]
    pairs = present[hash_search.close_hashes(hashes, COPY_BITS)]
    split, source = table["split"].to_numpy(), table["source"].to_numpy()
    pairs = pairs[split[pairs[:, 0]] != split[pairs[:, 1]]]
    if not len(pairs):
        return copies
    first, second = (_thumbnails(curated, rows) for rows in pairs.T)
    same = duplicates.likeness(first, second) >= COPY_LIKENESS
    for a, b in pairs[same]:
        copies[a], copies[b] = source[b], source[a]
    return copies


def _thumbnails(curated: Curated, rows: np.ndarray) -> np.ndarray:
    return np.array([image_stats.thumbnail(hr) for hr in curated.pixels(rows)])


def _identities(manifest: pd.DataFrame) -> pd.DataFrame:
    """A row per identity: its split, and the numbers of its splits, references and images."""
    is_reference = manifest["role"] == "reference"
    is_image = manifest["role"] == "image"
    facts = manifest.assign(is_reference=is_reference, is_image=is_image)
    return facts.groupby("identity", sort=True, as_index=False).agg(
        split=("split", "first"),
        splits=("split", "nunique"),
        references=("is_reference", "sum"),
        images=("is_image", "sum"),
    )


def _totals(manifest: pd.DataFrame) -> pd.DataFrame:
    counts = {}
    for split in SPLITS:
        identities = manifest.loc[manifest["split"] == split, "identity"]
        counts[f"{split}_identities"] = identities.nunique()
    return pd.DataFrame([counts])


def _pixels(curated: Curated, rows: np.ndarray) -> pd.DataFrame:
    """Measures of the pixels themselves, a row per image."""
    pixels, entries = curated.pixels(rows), curated.table.iloc[rows]
    grey = image_stats.miniatures(pixels)
    differ = image_stats.difference_hash(grey) ^ entries["dhash"].to_numpy()
    bits = np.bitwise_count(differ).astype(int)
    bits[bits <= (_JPEG_BITS if curated.is_lossy else 0)] = 0
    columns = {
        "source": entries["source"].to_numpy(),
        "contrast": np.ptp(pixels, axis=(1, 2, 3)),
        "sharpness": image_stats.sharpness(grey),
        "hash_bits": bits,
    }
    return pd.DataFrame(columns)
