"""A slice of `make fuzz`: no reader crashes or hangs on a damaged file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.runner import example, fuzz
from fuzzing.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]


def test_no_reader_crashes_or_hangs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fuzzing",
        "--seconds",
        "60",
        "--seed",
        "0",
        "--keep",
        str(tmp_path / "kept"),
    ]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    result = json.loads(done.stdout)
    assert (result["crashes"], result["hangs"], done.returncode) == (0, 0, 0), result["faults"]
    for name, counts in result["targets"].items():
        assert counts.get("refused", 0) > 0, name
        assert counts.get("read", 0) > 0, name
    assert result["peak_mb"] > 0


@pytest.mark.parametrize(
    ("fault", "kind"), [("raise", "crashes"), ("abort", "crashes"), ("sleep", "hangs")]
)
def test_faults_are_counted_and_their_bytes_kept(fault: str, kind: str, tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if path.read_bytes() == b"1":
            {
                "raise": lambda: 1 / 0,
                "abort": lambda: os.kill(os.getpid(), 9),
                "sleep": lambda: __import__("time").sleep(60),
            }[fault]()

    target = Target(lambda rng: (".bin", b"%d" % (rng.random() < 0.25)), read)
    bad = [number for number in range(8) if example("faulty", target, 0, number)[1] == b"1"]
    result = fuzz({"faulty": target}, 60, 8, 0, tmp_path / "kept")
    assert (result["tried"], result[kind]) == (8, len(bad))
    assert 0 < len(bad) < 8
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        f"faulty-0-{number}.bin" for number in bad
    }


def test_examples_depend_on_the_seed_alone() -> None:
    for name, target in TARGETS.items():
        assert example(name, target, 1, 3) == example(name, target, 1, 3)
