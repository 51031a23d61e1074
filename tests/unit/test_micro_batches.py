"""Requests that run at once give the same results, on a GPU through the network together."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from service_client import Client, serving
from torch import nn

from refsr.inference.library import Upscaler
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.service import example
from refsr.service.following import Following
from refsr.service.micro_batches import MicroBatches
from refsr.service.server import warm_up
from refsr.service.settings import Settings
from refsr.service.worker import Worker

RNG = np.random.default_rng(0)
PATIENCE = 60  # seconds, before a test that hangs fails


def _image(side: int) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches") / "refsr"
    network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1)
    assert network.modes is not None
    nn.init.normal_(network.modes.output.weight)
    save_model(folder, network)
    return folder


class Held:
    """A model whose first call waits until it may go on; counts the crops of each call."""

    def __init__(self, model: Upscaler) -> None:
        self._run, self.counts = model._run, list[int]()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        model._run = self

    def __call__(self, photos: np.ndarray, *given: object) -> np.ndarray:
        self.counts.append(len(photos))
        if not self.has_begun.is_set():
            self.has_begun.set()
            assert self.may_go_on.wait(PATIENCE)
        return self._run(photos, *given)  # type: ignore[arg-type]


def _are_near(
    made: list[np.ndarray],
    expected: list[np.ndarray],
) -> None:
    for one, other in zip(made, expected, strict=True):
        assert one.shape == other.shape
        apart = abs(one.astype(int) - other)
        assert apart.max() <= 1


def _waiting(batches: MicroBatches, count: int) -> None:
    pause = threading.Event()
    while len(batches._waiting) < count:
        pause.wait(0.01)


def test_what_is_asked_while_the_network_is_busy_is_done_together(folder: Path) -> None:
    model = Upscaler.from_checkpoint(folder)
    ref = _image(40)
    asked = [
        (_image(8), ref),
        (_image(6), ref),
        (_image(20), ref),
        (_image(8),),
    ]
    expected = [model.upscale(*each) for each in asked]
    held = Held(model)
    batches = MicroBatches(model)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(batches.upscale, _image(8))
        assert held.has_begun.wait(PATIENCE)
        others = [threads.submit(batches.upscale, *each) for each in asked]
        _waiting(batches, len(asked))
        held.may_go_on.set()
        first.result(PATIENCE)
        made = [each.result(PATIENCE) for each in others]
    _are_near(made, expected)
    assert held.counts == [1, 3, 1]  # as many references go together


def test_a_fault_reaches_all_who_were_in_it_and_nobody_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Upscaler.from_checkpoint(folder)
    batches, run = MicroBatches(model), model._run

    def fail(*_: object) -> np.ndarray:
        raise MemoryError("no")

    monkeypatch.setattr(model, "_run", fail)
    with pytest.raises(MemoryError):
        batches.upscale(_image(8))
    monkeypatch.setattr(model, "_run", run)
    assert batches.upscale(_image(8)).shape == (32, 32, 3)


@pytest.mark.parametrize("batches", [False, True])
def test_a_sample_hangs_on_its_seed_alone(batches: bool, folder: Path) -> None:
    own = Upscaler.from_checkpoint(folder)
    model = MicroBatches(own) if batches else own
    photo = _image(8)

    def draw(seed: int) -> bytes:
        return model.upscale(
            photo,
            temperature=1.0,
            seed=seed,
        ).tobytes()

    with ThreadPoolExecutor(4) as threads:
        drawn = [*threads.map(draw, [1, 2, 3] * 20)]
    assert drawn == drawn[:3] * 20
    assert len({*drawn}) == 3


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    worker = Worker(8, threads=2)
    both = threading.Barrier(3)
    jobs = [worker.submit(lambda: both.wait(PATIENCE)) for _ in range(2)]
    both.wait(PATIENCE)
    assert {job.result(PATIENCE) for job in jobs} <= {0, 1, 2}
    assert worker.running == 0
    worker._recent.append(10.0)
    assert worker.promise == 40.0  # four jobs one after the other in each thread
    worker.end()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_service_of_several_threads_answers_as_one_of_one(
    device: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refsr.service.following.choose_device", lambda _: device)

    def answers(threads: int) -> list[np.ndarray]:
        following = Following(Settings(model=str(folder), threads=threads), warm_up)
        is_batching = threads > 1 and device == "cuda"
        assert isinstance(following.served.model, MicroBatches) == is_batching
        with serving(following, threads=threads) as client, ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: _answer(client, number), range(8)))

    _are_near(answers(1), answers(3))


def _answer(client: Client, number: int) -> np.ndarray:
    portraits = [example.png(name) for name in example.NAMES[1 : 1 + number % 3]]
    answer = client.upscale(example.png("photo"), *portraits)
    assert answer.status == 200
    with Image.open(io.BytesIO(answer.data)) as image:
        return np.asarray(image)
