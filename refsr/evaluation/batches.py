"""Which images are measured together.

A batch holds whole people where they fit. So a shard of the people has the very batches that it
has in an evaluation of all, and its numbers are the same to the last bit.
"""

import zlib

import numpy as np
import pandas as pd
import torch

from refsr.share import Share


def batches(test: pd.DataFrame, size: int) -> list[pd.DataFrame]:
    """The rows of `test` in order, in pieces of at most `size`."""
    starts = [
        (start, min(start + size, group.stop))
        for group in _groups(test["person"].to_numpy(), size)
        for start in range(group.start, group.stop, size)
    ]
    return [test.iloc[start:stop].reset_index(drop=True) for start, stop in starts]


def of_share(test: pd.DataFrame, size: int, share: Share) -> pd.DataFrame:
    """The rows of a share: whole batches of whole people, which may be none."""
    groups = _groups(test["person"].to_numpy(), size)
    own = groups[share.slice(len(groups))]
    if not own:
        return test.iloc[:0]
    return test.iloc[own[0].start : own[-1].stop].reset_index(drop=True)


def seed_draws(seed: int, *names: object) -> None:
    """Seed the random numbers of torch by what they are for, not by what was drawn before."""
    text = " ".join(map(str, (seed, *names)))
    torch.manual_seed(zlib.crc32(text.encode()))


def _groups(persons: np.ndarray, size: int) -> list[range]:
    """Runs of rows: as many whole people as fit into `size`, or one with more images."""
    edges = np.flatnonzero(persons[1:] != persons[:-1]) + 1
    groups: list[range] = []
    start = end = 0
    for stop in [*edges.tolist(), len(persons)]:
        if stop - start > size and end > start:
            groups.append(range(start, end))
            start = end
        end = stop
    return [*groups, range(start, end)] if end > start else groups
