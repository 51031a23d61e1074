"""What is fuzzed. A new reader is one line of TARGETS."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fuzzing import archives, own_files, params, pictures, tables, work_files
from refsr.curation.decoding import Reject
from refsr.errors import RefsrError

ALLOWED = (RefsrError, Reject)  # what a reader may raise
Mutate = Callable[[np.random.Generator], tuple[str, bytes]]


class Target(NamedTuple):
    """`mutate` makes (suffix, or "/" and the name of the file; its bytes).

    `read` reads that file.
    """

    mutate: Mutate
    read: Callable[[Path], None]


TARGETS = {
    "archives": Target(archives.mutate, archives.read),
    "csv": Target(tables.mutate_csv, tables.read_csv),
    "parquet": Target(tables.mutate_parquet, tables.read_parquet),
    "params": Target(params.mutate, params.read),
    "images.upscale": Target(pictures.mutate, pictures.read_for_upscaling),
    "images.curate": Target(pictures.mutate, pictures.read_for_curation),
    "shards": Target(own_files.mutate_shard, own_files.read_shard),
    "checkpoints": Target(own_files.mutate_checkpoint, own_files.read_checkpoint),
    "metrics.json": Target(own_files.mutate_metrics, own_files.read_metrics),
    "part.json": Target(own_files.mutate_part, own_files.read_part),
    "state.pt": Target(own_files.mutate_state, own_files.read_state),
    "work": Target(work_files.mutate_work, work_files.read_work),
    "outputs": Target(work_files.mutate_output, work_files.read_output),
}
