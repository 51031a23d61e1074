"""A slice of `make drills`: 36 kills over all stages and moments."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_killed_and_run_again_ends_in_the_same_bytes() -> None:
    command = [sys.executable, str(ROOT / "tests/kill_drills.py"), "--kills", "36", "--seed", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert result["kills"] + result["ended_before"] >= 36
    assert result["kills"] >= 30
