"""Runs examples in forked workers, each under a limit of time and of memory.

Example `n` of a target depends on the seed, the target and `n` alone. A worker announces each
example before it reads it, so that the parent knows which one crashed it, or takes too long.
"""

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.targets import ALLOWED, Target

EXAMPLE_SECONDS = 5.0
MEMORY = 8 * 2**30  # bytes of address space a worker may have
FAULTS = ("crashes", "hangs", "died")  # died: by a signal
LEAST = 40  # examples of a target that are tried whatever the time
MAX_FAULTS = 50  # of a target; then the next one has its turn
_FORK = multiprocessing.get_context("fork")


def fuzz(
    targets: Mapping[str, Target], seconds: float, examples: int, seed: int, keep: Path
) -> dict[str, Any]:
    """Counts of outcomes over all targets, which share `seconds` equally; see fuzzing.__main__."""
    outcomes: Counter[str] = Counter()
    by_target: dict[str, dict[str, int]] = {}
    faults: list[str] = []
    peak = 0
    ends = time.monotonic() + seconds
    for left, (name, target) in zip(range(len(targets), 0, -1), targets.items(), strict=True):
        share = max(0.0, ends - time.monotonic()) / left
        counts, new_faults, most = _fuzz_one(name, target, share, examples, seed, keep)
        outcomes += counts
        by_target[name] = dict(counts)
        faults += new_faults
        peak = max(peak, most)
    keys = ("crashes", "hangs", "read", "refused")
    numbers = {"tried": outcomes.total()} | {key: outcomes[key] for key in keys}
    return numbers | {
        "peak_mb": peak // 1024,
        "seed": seed,
        "targets": by_target,
        "faults": faults[:20],
    }


def _fuzz_one(
    name: str, target: Target, seconds: float, examples: int, seed: int, keep: Path
) -> tuple["Counter[str]", list[str], int]:
    """(outcomes, faults in words, peak KiB) of one target."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    number, peak = 0, 0
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="refsr-fuzz-") as folder:
        target.mutate(
            np.random.default_rng(0)
        )  # what it makes once is made here, before a worker is forked
        while _goes_on(number, examples, ends) and len(faults) < MAX_FAULTS:
            worker, pipe = _start(name, target, number, examples, seed, ends, Path(folder))
            while True:
                event, number, most = _next_event(pipe, number)
                peak = max(peak, most)
                if event == "done":
                    break
                if event == "begin":
                    continue
                counts["crashes" if event == "died" else event] += 1
                if event in FAULTS:
                    faults.append(
                        f"{name} {number} {event}: {_keep(keep, name, target, seed, number)}"
                    )
                number += 1
                if event in ("died", "hangs") or len(faults) >= MAX_FAULTS:
                    break
            if worker.is_alive():
                worker.kill()
            worker.join()
            shutil.rmtree(Path(folder) / "example", ignore_errors=True)
            if event == "done":
                break
    return counts, faults, peak


def _goes_on(number: int, examples: int, ends: float) -> bool:
    """Whether an example of this number is tried."""
    return number < examples and (number < LEAST or time.monotonic() < ends)


def _next_event(pipe: Connection, number: int) -> tuple[str, int, int]:
    """(event, example, peak KiB) from the worker; silence is a hang, and its end is a crash."""
    if not pipe.poll(EXAMPLE_SECONDS):
        return "hangs", number, 0
    try:
        event: tuple[str, int, int] = pipe.recv()
    except (EOFError, OSError):
        return "died", number, 0
    return event


def _start(
    name: str, target: Target, first: int, examples: int, seed: int, ends: float, folder: Path
) -> tuple[Any, Connection]:
    ours, theirs = _FORK.Pipe(duplex=False)
    worker = _FORK.Process(
        target=_work, args=(theirs, name, target, first, examples, seed, ends, folder)
    )
    worker.start()
    theirs.close()
    return worker, ours


def _work(
    pipe: Connection,
    name: str,
    target: Target,
    first: int,
    examples: int,
    seed: int,
    ends: float,
    folder: Path,
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # what decoders say of damage
    number = first
    while _goes_on(number, examples, ends):
        pipe.send(("begin", number, 0))
        event = _outcome(name, target, seed, number, folder / "example")
        pipe.send((event, number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        number += 1
    pipe.send(("done", number, 0))


def _outcome(name: str, target: Target, seed: int, number: int, folder: Path) -> str:
    suffix, data = example(name, target, seed, number)
    folder.mkdir()
    path = folder / (suffix[1:] if suffix.startswith("/") else f"example{suffix}")
    path.write_bytes(data)
    try:
        target.read(path)
    except ALLOWED:
        return "refused"
    except BaseException:  # the process goes on, and the bytes are kept
        return "crashes"
    finally:
        shutil.rmtree(folder)
    return "read"


def example(name: str, target: Target, seed: int, number: int) -> tuple[str, bytes]:
    """The name's end and the bytes of one example."""
    return target.mutate(np.random.default_rng([seed, *name.encode(), number]))


def _keep(keep: Path, name: str, target: Target, seed: int, number: int) -> Path:
    suffix, data = example(name, target, seed, number)
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{name}-{seed}-{number}{suffix.replace('/', '-')}"
    path.write_bytes(data)
    return path
