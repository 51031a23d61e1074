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
    """What `curate` would read: counts, archives and metadata of the raw set; no image is looked at."""
    with tempfile.TemporaryDirectory(prefix="refsr-preview-") as scratch:  # for what is wanted of a tar.gz
        source = open_source(raw, Path(scratch), deciding(layout))
        tree = Tree(source, layout)
    images, files = tree.images, tree.source.files
    order = draw(images, params)
    first = set(first_round(order, params))
    sizes = files["size"].to_numpy()[images["file"]]
    counts = images["identity"].value_counts()
    crops = int(counts[counts.index.isin(first)].clip(upper=most_candidates(params)).sum())
    packed = [io_files.size_of(place) for place in tree.source.archives if archive.is_packed(place)]
    return {
        "layout": tree.layout,
        "identities": len(tree.identities),
        **{f"identities.{split}": len(keys) for split, keys in order.items()},
        "images": len(images),
        "bytes": int(sizes.sum()),
        "archives": ", ".join(Path(place).name for place in tree.source.archives) or "none",
        "metadata": ", ".join(tree.metadata.files) or "none",
        "never read": len(tree.refused),
        "in no identity's folder": tree.strays,
        "identities measured first": len(first),
        "images measured first": int(images["identity"].isin(first).sum()),
        "bytes measured first": int(sizes[images["identity"].isin(first)].sum()),
        "bytes of scratch disk": sum(packed) + crops * 3 * params.hr_size**2,
    }
