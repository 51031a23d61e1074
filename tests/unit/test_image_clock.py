"""The processor time of one image is bounded:
whatever hangs in it, the next run leaves it out, and no other.
"""

import itertools
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from raw_trees import BOX, LANDMARKS, draw, embed_colour, jpeg, make_raw, person, put

import refsr.steps.upscale_folder as step
from refsr.config import Curate
from refsr.curation import crash_journal
from refsr.curation.curated_writer import write_curated
from refsr.curation.extraction import Detector
from refsr.errors import RefsrError
from refsr.inference.images import read_image
from refsr.io import limits
from refsr.io.timed import OvertimeError, within
from refsr.models import build
from refsr.models.checkpoint import save_model
from refsr.side_config import UpscaleFolder
from refsr.tracker import NullTracker

PARAMS = Curate(hr_size=32, min_sharpness=0.2, shard_images=16)
SOURCE = f"train/{person(1)}/0002_01.jpg"
SECONDS = 2.0
AtRed = Callable[[np.ndarray], None]
CONFIG = {
    "model": "refsr",
    "variant": "compact",
    "width": 16,
    "blocks": 1,
    "hr_size": 32,
    "scale": 4,
}


def hangs(_: np.ndarray) -> None:
    all(itertools.repeat(True))  # in C, with the lock of Python: nothing written in Python ends it


def dies(_: np.ndarray) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_while(_: np.ndarray, flag: Path) -> None:
    if flag.exists():
        dies(_)


def find(image: np.ndarray, smallest: float, at_red: AtRed) -> tuple[np.ndarray, np.ndarray]:
    if image[..., 0].min() > 200 > 50 > image[..., 1:].max():
        at_red(image)
    return np.array([BOX], float), np.array(LANDMARKS, float).reshape(1, 5, 2)


def sure(chips: np.ndarray) -> np.ndarray:
    return np.full(len(chips), 0.97)


def curate(folder: Path, at_red: AtRed, workers: int) -> pd.Series:
    """The reasons of a curation that does `at_red` at SOURCE."""
    limits.SECONDS = SECONDS
    detector = Detector(partial(find, at_red=at_red), sure)
    write_curated(PARAMS, folder / "raw", folder / "out", embed_colour, workers, detector=detector)
    return pd.read_parquet(folder / "out" / "rejects.parquet").set_index("source")["reason"]


def exit_status(folder: Path, at_red: AtRed) -> int | None:
    """Of a process that curates without workers."""
    process = multiprocessing.get_context("spawn").Process(target=curate, args=(folder, at_red, 1))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw set without boxes, with one red image."""
    monkeypatch.setattr(limits, "SECONDS", SECONDS)
    raw = make_raw(tmp_path / "raw")
    shutil.rmtree(raw / "bb_landmark")
    put(raw, "train", 1, "0002_01", jpeg(np.full((120, 120, 3), (0, 0, 255), np.uint8)))
    return tmp_path


def test_a_worker_that_hangs_is_ended_and_its_image_left_out(folder: Path) -> None:
    with pytest.raises(RefsrError, match=rf"{SOURCE}, left out .* more than 2 s of processor time"):
        curate(folder, hangs, 2)
    assert curate(folder, hangs, 1)[SOURCE] == "costly"
    assert not (folder / "out" / "work").exists()


def test_a_run_without_workers_that_hangs_leaves_the_image_out_next_time(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(folder, hangs) == -signal.SIGPROF
    said = ""
    while not said:  # another process says it
        said = capfd.readouterr().err
    assert said.startswith(
        f"refsr: error: {SOURCE} took more than 2 s of processor time; run again"
    )
    assert curate(folder, hangs, 1)[SOURCE] == "costly"
    assert not (folder / "out" / "work").exists()


def test_killed_twice_at_one_image_a_run_without_workers_leaves_it_out(folder: Path) -> None:
    assert [exit_status(folder, dies), exit_status(folder, dies)] == [-signal.SIGKILL] * 2
    assert curate(folder, dies, 1)[SOURCE] == "costly"


def test_killed_once_it_blames_no_image(folder: Path) -> None:
    (folder / "flag").touch()
    at_red = partial(dies_while, flag=folder / "flag")
    assert exit_status(folder, at_red) == -signal.SIGKILL
    (folder / "flag").unlink()
    assert "costly" not in set(curate(folder, at_red, 1))


def test_kills_at_different_images_blame_none(tmp_path: Path) -> None:
    journal = crash_journal.Journal(tmp_path)
    (tmp_path / "reading").mkdir()
    for image in "aba":
        (tmp_path / "reading" / "main").write_text(image)
        journal.recover()
        assert journal.fatal_images() == set()
    (tmp_path / "reading" / "123").write_text("a")  # a worker that ended with its parent
    journal.recover()
    assert journal.fatal_images() == set()
    assert not (tmp_path / "reading" / "123").exists()
    journal.clear()
    assert not (tmp_path / "reading").exists()


def test_the_clock_is_stopped_between_images_and_at_the_end(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="of a decoder"),
        crash_journal.Journal(tmp_path).kept_here(),
    ):
        crash_journal.begin("a")
        assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
        crash_journal.begin("")
        assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
        crash_journal.begin("b")
        raise ValueError("of a decoder")
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    crash_journal.begin("c")
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def large(kind: str) -> bytes:
    image = cv2.resize(draw(1, 1), (4500, 4500))
    options = {".jpg": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), ".png": (cv2.IMWRITE_PNG_COMPRESSION, 1)}
    return bytes(
        cv2.imencode(kind, image[:1500] if kind == ".webp" else image, options.get(kind, ()))[1]
    )


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_a_photo_that_takes_too_long_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / f"photo{kind}"
    path.write_bytes(large(kind))
    monkeypatch.setattr(limits, "SECONDS", 0.02)
    with pytest.raises(RefsrError, match=rf"photo{kind}: too long to decode: more than 0.02 s"):
        read_image(path)


def test_in_a_folder_it_is_a_row_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "pairs" / "small"
    small.mkdir(parents=True)
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model" / "model.safetensors", build(CONFIG))
    for name, data in {"a": jpeg(draw(1, 1)), "b": large(".jpg"), "c": jpeg(draw(1, 2))}.items():
        (small / f"{name}.jpg").write_bytes(data)
    monkeypatch.setattr(limits, "SECONDS", 0.04)
    paths = {"refsr": tmp_path / "model", "pairs": tmp_path / "pairs", "upscaled": tmp_path / "out"}
    step.upscale_folder(UpscaleFolder(device="cpu"), NullTracker(), **paths)
    rejects = pd.read_csv(tmp_path / "out" / "rejects.csv").set_index("name")["reason"]
    assert [*rejects.index] == ["b"]
    assert "too long" in rejects["b"]
    assert (tmp_path / "out" / "c.png").is_file()


def test_a_bounded_function_returns_and_raises_as_without_bounds() -> None:
    assert within(9, lambda: 7) == 7
    for error in (ValueError("odd"), TimeoutError("its own"), OvertimeError("inner")):

        def fail(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            within(9, fail)
