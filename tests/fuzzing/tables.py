"""Tables: the CSV metadata of a raw set, and the Parquet manifest of a curated one."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fuzzing.damage import damaged
from refsr.dataset.curated import Curated
from refsr.io.sources import open_source
from refsr.layouts.registry import needed
from refsr.layouts.tree import Tree

CSV = (
    b'NAME_ID,X,Y,W,H\n"n000001/0001_01",60,60,79,109\n'
    b'"n000002/0001_01",-3.5,0,1e2,9,\n"n000002/0002_01",1,1,9,9\n'
)
META = b'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "A,_B",424,0, m,\nn000002, "C",1,1, f\n'
CSVS = {"loose_bb_train.csv": CSV, "identity_meta.csv": META}


def mutate_csv(rng: np.random.Generator) -> tuple[str, bytes]:
    """A damaged file of boxes or of identities, at times of one long line."""
    name = list(CSVS)[rng.integers(len(CSVS))]
    data = damaged(CSVS[name], rng)
    if rng.random() < 0.1:
        data += rng.choice([b" ", b"a", b'"', b",", b"0"]) * int(rng.integers(1, 200_000))
    return f"/{name}", data


def read_csv(path: Path) -> None:
    """Read the raw set it belongs to."""
    folder = path.parent / "n000001"
    folder.mkdir()
    (folder / "0001_01.jpg").write_bytes(b"")
    read_tree(path.parent, None)


def mutate_parquet(rng: np.random.Generator) -> tuple[str, bytes]:
    """A damaged manifest."""
    return "/manifest.parquet", damaged(_manifest(), rng)


def read_parquet(path: Path) -> None:
    """Open the curated set it describes."""
    Curated(path.parent)


def read_tree(path: Path, work: Path | None) -> None:
    """Every image, box and landmark of a raw set."""
    tree = Tree(open_source(path, work, needed("vggface2")))
    for row in tree.images["file"]:
        tree.source.read(row)
    tree.metadata.boxes()
    tree.metadata.landmarks()


@cache
def _manifest() -> bytes:
    rows = [
        {
            "identity": f"n{n:06d}",
            "split": "test",
            "role": "image",
            "source": f"{n}.jpg",
            "shard": 0,
            "index": n,
        }
        for n in range(8)
    ]
    target = io.BytesIO()
    pd.DataFrame(rows).to_parquet(target)
    return target.getvalue()
