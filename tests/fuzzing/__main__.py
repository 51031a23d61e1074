"""Fuzz all readers for some seconds, and print one line of JSON.

    PYTHONPATH=tests python -m fuzzing --seconds 60 --seed 1
        [--examples N] [--only csv] [--keep FOLDER]

`tried`, `read` and `refused` count examples; `crashes` and `hangs` (over 5 s) have their bytes kept
in a folder; `peak_mb` is the largest peak of memory of a worker. The exit status is 1 after a crash
or a hang.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from fuzzing.runner import fuzz
from fuzzing.targets import TARGETS
from refsr.io.paths import path_option

MAX_SECONDS = 600


def main() -> int:
    """Fuzz, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help=f"at most {MAX_SECONDS}")
    parser.add_argument(
        "--examples", type=int, default=10**9, help="at most so many of each target"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument(
        "--keep", type=path_option, help="folder for the bytes of crashes and hangs"
    )
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.gettempdir()) / "refsr-fuzz"
    seconds = min(options.seconds, MAX_SECONDS)
    result = fuzz(
        {name: TARGETS[name] for name in options.only},
        seconds,
        options.examples,
        options.seed,
        keep,
    )
    print(json.dumps(result))
    return int(bool(result["crashes"] or result["hangs"]))


if __name__ == "__main__":
    sys.exit(main())
