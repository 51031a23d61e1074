"""Batches that are read ahead are those of their steps, in order, and few at a time."""

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from helpers import make_curated

from refsr.config import TrainRefsr
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.training import feed
from refsr.training.pairs import Drawn, Pairs


class _Slow(Pairs):
    """Early steps take longer to read than later ones; notes which were read."""

    def draw(self, step: int) -> Drawn:
        self.read: list[int] = [*getattr(self, "read", []), step]
        time.sleep(0.02 * (3 - step % 4))
        if step == 90:
            raise RefsrError("a damaged shard")
        return super().draw(step)


@pytest.fixture
def pairs(tmp_path: Path) -> _Slow:
    folder = make_curated(tmp_path / "curated", identities=6, images=3, train=5)
    params = TrainRefsr(no_reference=0.3)
    return _Slow(Curated(folder), 0, 3, params, landmarks=True)


def test_batches_read_ahead_are_those_of_their_steps(pairs: _Slow) -> None:
    with closing(feed.batches(pairs, "cpu", 5, 17)) as ahead:
        read = list(ahead)
    assert len(read) == 12
    for step, batch in enumerate(read, 5):
        for part, expected in zip(batch, pairs.batch(step, "cpu"), strict=True):
            assert part is expected is None or torch.equal(part, expected)


def test_few_are_read_ahead_and_none_once_it_is_closed(pairs: _Slow) -> None:
    ahead = feed.batches(pairs, "cpu", 0, 10**6)
    for _ in range(3):
        next(ahead)
    ahead.close()
    while any(each.name.startswith("batch") for each in threading.enumerate()):
        time.sleep(0.01)
    assert max(pairs.read) < 3 + feed.AHEAD


def test_what_cannot_be_read_is_an_error_of_its_step(pairs: _Slow) -> None:
    with closing(feed.batches(pairs, "cpu", 88, 100)) as ahead:
        next(ahead), next(ahead)
        with pytest.raises(RefsrError, match="a damaged shard"):
            next(ahead)
