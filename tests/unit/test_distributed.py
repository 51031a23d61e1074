"""Who does what where several processes train together; tests/e2e has two of them do it."""

from pathlib import Path

import pytest
import torch
from helpers import make_curated

from refsr.config import Loss, TrainSisr
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.models import build
from refsr.tracker import NullTracker
from refsr.training import distributed, loop
from refsr.training.distributed import Processes
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs


def test_the_shares_of_all_are_the_batch() -> None:
    hr, ref = torch.rand(2, 6, 3, 4, 4)
    shares = [Processes(rank, 3).share(Batch(hr, ref)) for rank in range(3)]
    assert torch.equal(torch.stack([share.hr for share in shares], 1).flatten(0, 1), hr)
    assert all(share.ref is not None and len(share.ref) == 2 for share in shares)
    assert Processes(1, 3).share(Batch(hr, None)).ref is None


def test_alone_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")
    assert distributed.rank() == 0
    with distributed.together("cpu") as alone:
        model = torch.nn.Linear(1, 1)
        assert alone == Processes(0, 1)
        assert alone.parallel(model) is model
        assert alone.from_first(model) is model


def test_a_batch_that_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Three:
        def __enter__(self) -> Processes:
            return Processes(0, 3)

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(loop, "together", lambda device: Three())
    params = TrainSisr(steps=1, warm_start_step=1, batch_size=4, loss=Loss(perceptual_weight=0))
    model = build(
        {"model": "sisr", "variant": "compact", "hr_size": 32, "scale": 8, "width": 16, "blocks": 1}
    )
    pairs = Pairs(Curated(make_curated(tmp_path / "c", train=4)), 0, 4)
    with pytest.raises(RefsrError, match="batch_size 4 cannot be shared by 3 "):
        loop.train(model, pairs, params, Objective(params.loss, 1), NullTracker(), tmp_path / "run")
