"""No memory, or no room on the disk: one message with the setting that helps.

It is the same whichever library reports it. Each case runs in a process of its own whose memory
(RLIMIT_AS) or files (RLIMIT_FSIZE) are limited.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import make_curated

from refsr.config import Curate, Evaluate, Register, Section, Synthesize, TrainSisr, Validate
from refsr.io.exhausted import (
    BatchTooLargeError,
    asked_bytes,
    disk_full,
    lacks_memory_for,
    out_of_memory,
)
from refsr.models import build
from refsr.models.checkpoint import save_model
from refsr.side_config import UpscaleFolder
from refsr.steps.shortage import memory_message

LIMITS = """
import resource, sys
def limit_memory(more):
    with open("/proc/self/status") as file:
        now = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))
def limit_files(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
"""
# A stage through the command line; the limit falls where the stage itself begins,
# so that imports are done.
STAGE = """
from refsr import steps
from refsr.__main__ import main
import mlflow, torch, cv2, pandas, refsr.training.loop, refsr.reporting.report
torch.set_num_threads(1)
load = steps.load
def limited(name):
    step = load(name)
    def run(*given, **named):
        {limit}
        return step(*given, **named)
    run.__wrapped__ = step
    run.__annotations__ = step.__annotations__
    run.__module__ = step.__module__
    return run
steps.load = limited
sys.exit(main(sys.argv[1:]))
"""


def run(code: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, in `folder`."""
    command = [sys.executable, "-c", LIMITS + code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def require_one_message(done: subprocess.CompletedProcess[str], expected_text: str) -> None:
    """Exit status 1, and `refsr: error: ...` alone after progress bars and warnings."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("refsr: error: ")]
    assert len(lines) == 1, done.stderr
    assert re.search(expected_text, lines[0]), lines[0]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A curated set, a network that starts RefSR, and parameters that ask for much."""
    make_curated(tmp_path / "curated", identities=4, images=2, train=2)
    (tmp_path / "sisr").mkdir()
    sizes = {"variant": "compact", "hr_size": 32, "scale": 8, "width": 64, "blocks": 2}
    save_model(
        tmp_path / "sisr" / "warm.safetensors", build({"model": "sisr"} | sizes), {"step": 1}
    )
    training = (
        "steps: 1, batch_size: {batch}, precision: float32, device: cpu, "
        "model: {{width: 128, blocks: 8}}"
    )
    for name, batch in (("large", 2000), ("small", 1)):
        (tmp_path / f"{name}.yaml").write_text(
            f"train_sisr: {{{training.format(batch=batch)}, warm_start_step: 1}}\n"
            f"train_refsr: {{{training.format(batch=batch)}}}\n"
        )
    return tmp_path


PATHS = {
    "train_sisr": ["--curated", "curated", "--validation", "curated", "--sisr", "out"],
    "train_refsr": ["--curated", "curated", "--sisr", "sisr", "--refsr", "out"],
}


def test_a_training_without_memory_names_the_batch_size(project: Path) -> None:
    stage = "train_sisr"
    code = STAGE.format(limit="limit_memory(300 * 2**20)")
    done = run(code, project, stage, "--params", "large.yaml", *PATHS[stage])
    require_one_message(
        done,
        rf"{stage}: there is not enough memory.*; (not even 1 image fits: use a smaller|"
        rf"set {stage}.batch_size to \d+, which fits here \(now 2000\)"
        rf"(, or {stage}.accumulate to \d+)?)",
    )
    assert not (project / "out").exists()


def test_a_training_without_room_names_the_output(project: Path) -> None:
    stage = "train_refsr"
    code = STAGE.format(limit="limit_files(3 * 2**20)")
    done = run(code, project, stage, "--params", "small.yaml", *PATHS[stage])
    require_one_message(
        done, rf"{stage}: .*out.partial.* MiB free in .*make room and run the stage again"
    )
    assert not (project / "out").exists()


RAISED = {
    "torch": "import torch; limit_memory(2**27); torch.zeros(10**9)",
    "a convolution": "import torch; limit_memory(2**27); "
    "torch.nn.Conv2d(3, 512, 3)(torch.zeros(1, 3, 1000, 1000))",
    "NumPy": "import numpy; limit_memory(2**27); numpy.ones(10**9)",
    "OpenCV": "import cv2, numpy; limit_memory(2**27); "
    "cv2.resize(numpy.zeros((9, 9, 3), 'u1'), (20000, 20000))",
    "Python": "limit_memory(2**27); bytearray(10**10)",
    "mmap": "import mmap; limit_memory(2**27); mmap.mmap(-1, 10**10)",
}
FULL = {
    "torch": "import torch; limit_files(10**5); torch.save(torch.zeros(10**6), 'x')",
    "torch on a full device": "import torch; torch.save(torch.zeros(10**6), '/dev/full')",
    "safetensors": "from safetensors.numpy import save_file; import numpy; limit_files(10**5); "
    "save_file({'a': numpy.zeros(10**6)}, 'x')",
    "NumPy": "import numpy; limit_files(10**5); numpy.save('x', numpy.zeros(10**6))",
    "NumPy's tofile": "import numpy; limit_files(10**5); numpy.zeros(10**6).tofile('x')",
    "Parquet": "import pandas, numpy; limit_files(10**5); "
    "pandas.DataFrame({'a': numpy.random.rand(10**6)}).to_parquet('x')",
    "Pillow": "import numpy; from PIL import Image; limit_files(10**4); "
    "Image.fromarray(numpy.random.randint(0, 255, (300, 300, 3), 'u1')).save('x.png')",
    "SQLite": "import sqlite3, os; limit_files(10**5); c = sqlite3.connect('x'); "
    "c.execute('create table a (b)'); "
    "c.execute('insert into a values (?)', (os.urandom(10**6),)); c.commit()",
    "Python": "limit_files(10**5); open('x', 'wb').write(bytes(10**6))",
    "a full device": "open('/dev/full', 'wb', 0).write(b'x')",
}
ASK = """
from refsr.io.exhausted import disk_full, out_of_memory
try:
    {code}
except Exception as error:
    print(out_of_memory(error), disk_full(error))
"""


@pytest.mark.parametrize("library", RAISED)
def test_a_want_of_memory_is_known(tmp_path: Path, library: str) -> None:
    assert run(ASK.format(code=RAISED[library]), tmp_path).stdout.split() == ["True", "False"]


@pytest.mark.parametrize("library", FULL)
def test_a_full_disk_is_known(tmp_path: Path, library: str) -> None:
    assert run(ASK.format(code=FULL[library]), tmp_path).stdout.split() == ["False", "True"]


def test_a_gpu_without_memory_is_known() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of ..."
    )
    assert out_of_memory(error)
    assert not disk_full(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("size mismatch"), OSError(13, "Permission denied")]
)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not out_of_memory(error)
    assert not disk_full(error)


def test_a_cause_counts() -> None:
    error = RuntimeError("a step failed")
    error.__cause__ = MemoryError()
    assert out_of_memory(error)


def test_a_file_that_asks_for_too_much_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10**6))
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes."
    assert asked_bytes(RuntimeError(text.format(4_000_000))) == 4_000_000
    assert asked_bytes(MemoryError("Unable to allocate 74.5 GiB for an array")) == int(74.5 * 2**30)
    assert lacks_memory_for(RuntimeError(text.format(4_000_000)), path)
    assert not lacks_memory_for(RuntimeError(text.format(10**12)), path)
    assert lacks_memory_for(MemoryError(), path)


def test_a_batch_that_fits_is_named() -> None:
    said = memory_message("train_sisr", TrainSisr(), BatchTooLargeError(8))
    way_out = "set train_sisr.batch_size to 8, which fits here (now 32), or train_sisr.accumulate"
    assert said.endswith(f"; {way_out} to 4")
    assert out_of_memory(BatchTooLargeError(0))


@pytest.mark.parametrize(
    ("name", "section", "expected_text"),
    [
        (
            "train_sisr",
            TrainSisr(batch_size=1),
            "train_sisr.batch_size is 1 already: use a smaller `model`",
        ),
        ("evaluate", Evaluate(), "set evaluate.batch_size to 16 (now 32)"),
        (
            "curate",
            Curate(),
            "set curate.hr_size to 64 (now 128), run with fewer cores (taskset), or run with more",
        ),
        ("merge", Curate(), "set curate.hr_size to 64"),
        ("validate", Validate(), "set validate.sample to 128 (now 256)"),
        ("synthesize", Synthesize(), "set synthesize.max_size to 200 (now 400)"),
        ("register", Register(), "run with more memory"),
        ("upscale_folder", UpscaleFolder(), "run with more memory"),
    ],
)
def test_each_stage_names_what_helps(name: str, section: Section, expected_text: str) -> None:
    assert expected_text in memory_message(name, section, MemoryError())
