"""What `curate` would read, without decoding an image: the dry run."""

import tempfile
from pathlib import Path

import pandas as pd

from refsr.config import Curate
from refsr.curation.pipeline import first_round
from refsr.curation.selection import most_candidates
from refsr.curation.splits import draw
from refsr.io import archive
from refsr.io import files as io_files
from refsr.io.sources import open_source
from refsr.layouts.vggface2 import METADATA, Tree, tells_sex


def preview(params: Curate, raw: str) -> dict[str, int | str]:
    """Counts, archives and metadata of the raw set, and what the first round reads of it.

    Raises:
        RefsrError: The raw set cannot be read, or lacks listed identities or splits.
    """
    with tempfile.TemporaryDirectory(prefix="refsr-preview-") as scratch:  # of a tar.gz
        tree = Tree(open_source(raw, Path(scratch), tells_sex))
    images = tree.images
    order = draw(images, params)
    sizes = tree.source.files["size"].to_numpy()[images["file"]]
    first = set(first_round(order, params))
    in_first = images["identity"].isin(first)
    crops = _most_crops(images.loc[in_first, "identity"], most_candidates(params))
    archives = [Path(place).name for place in tree.source.archives]
    return {
        "identities": len(tree.identities),
        **{f"identities.{split}": len(keys) for split, keys in order.items()},
        "images": len(images),
        "bytes": int(sizes.sum()),
        "archives": ", ".join(archives) or "none",
        "metadata": ", ".join(_metadata(tree)) or "none",
        "never read": len(tree.refused),
        "identities measured first": len(first),
        "images measured first": int(in_first.sum()),
        "bytes measured first": int(sizes[in_first].sum()),
        "bytes of scratch disk": _packed_bytes(tree) + crops * 3 * params.hr_size**2,
    }


def _metadata(tree: Tree) -> list[str]:
    """Names of the metadata files."""
    names = tree.source.files["name"]
    return [names.iloc[row] for pattern in METADATA for row in tree.find(pattern)]


def _most_crops(identities: "pd.Series[str]", most: int) -> int:
    """The most crops of these images, at most `most` per identity."""
    return int(identities.value_counts().clip(upper=most).sum())


def _packed_bytes(tree: Tree) -> int:
    """Bytes of the compressed archives."""
    packed = [place for place in tree.source.archives if archive.is_packed(place)]
    return sum(map(io_files.size_of, packed))
