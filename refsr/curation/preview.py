"""What `curate` would read, without decoding an image: the dry run."""

import tempfile
from pathlib import Path

from refsr.config import Curate
from refsr.curation.pipeline import first_round
from refsr.curation.selection import most_candidates
from refsr.curation.splits import draw
from refsr.io import archive
from refsr.io import files as io_files
from refsr.io.sources import open_source
from refsr.layouts.registry import AUTO, deciding
from refsr.layouts.tree import Tree


def preview(params: Curate, raw: str, layout: str = AUTO) -> dict[str, int | str]:
    """Counts, archives and metadata of the raw set, and what the first round reads of it.

    Raises:
        RefsrError: The raw set cannot be read, or lacks listed identities or splits.
    """
    with tempfile.TemporaryDirectory(prefix="refsr-preview-") as scratch:  # of a tar.gz
        tree = Tree(open_source(raw, Path(scratch), deciding(layout)), layout)
    images = tree.images
    order = draw(images, params)
    sizes = tree.source.files["size"].to_numpy()[images["file"]]
    first = set(first_round(order, params))
    in_first = images["identity"].isin(first)
    archives = [Path(place).name for place in tree.source.archives]
    return {
        "layout": tree.layout,
        "identities": len(tree.identities),
        **{f"identities.{split}": len(keys) for split, keys in order.items()},
        "images": len(images),
        "bytes": int(sizes.sum()),
        "archives": ", ".join(archives) or "none",
        "metadata": ", ".join(tree.metadata.files) or "none",
        "never read": len(tree.refused),
        "in no identity's folder": tree.strays,
        "identities measured first": len(first),
        "images measured first": int(in_first.sum()),
        "bytes measured first": int(sizes[in_first].sum()),
        "bytes of scratch disk": _scratch_bytes(tree, first, params),
    }


def _scratch_bytes(tree: Tree, identities: set[str], params: Curate) -> int:
    """Bytes on disk of compressed archives, and of the crops of these identities, at most."""
    counts = tree.images["identity"].value_counts()
    counts = counts[counts.index.isin(identities)]
    crops = int(counts.clip(upper=most_candidates(params)).sum())
    packed = [place for place in tree.source.archives if archive.is_packed(place)]
    return sum(map(io_files.size_of, packed)) + crops * 3 * params.hr_size**2
