"""Load the service with twice what it can do, while the champion moves.

    python benchmarks/serving.py --seconds 60

Starts `refsr serve` on a free port of this machine, with an MLflow store of its own and two
untrained versions of one network. First one client measures the capacity; then so many clients send
requests at twice that rate. Prints one JSON object: answers by status, seconds of those that were
accepted, the server's memory at the start and at the end, and the moves of the champion.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import urllib3

from refsr.config import Register
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import CHECKPOINT, METRICS, Registry
from refsr.integrations.tracking import start_run
from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.service import example

CLIENTS = 32
WARM_UP = 10  # requests of one client
MOVES = 4  # of the champion
COMMAND = (sys.executable, "-m", "refsr", "--log-json", "serve", "--port", "0", "--poll", "1")


def main() -> None:
    """Start, load, print."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        open_store(uri)
        registry = make_registry(uri, folder, hr_size=64, scale=8)
        with served(uri, folder / "log", options.queue) as (url, process):
            print(json.dumps(measure(url, process, registry, options.seconds)))


def make_registry(uri: str, folder: Path, **config: int) -> Registry:
    """A store with two versions of a network, the first of which is champion.

    MLflow puts artifacts into the present folder.
    """
    registry = Registry(uri, "refsr")
    (folder / METRICS).write_text("{}")
    example_input = {key: np.zeros((1, 8, 8, 3), np.uint8) for key in ("lr", "ref")}
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_model(folder / CHECKPOINT, CompactRefsr(**config))
        with start_run(uri, "register", Register()) as run:
            model = registry.log(folder / CHECKPOINT, folder / METRICS, example_input)
            registry.add(run, model, {"seed": str(seed)}, registry.champion())
    return registry


@contextmanager
def served(uri: str, log: Path, queue: int) -> Iterator[tuple[str, int]]:
    """A server; when the block ends it has to end as well, by SIGTERM."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    command = [*COMMAND, "--queue", str(queue)]
    with (
        log.open("w") as target,
        subprocess.Popen(command, env=environment, stderr=target) as process,
    ):
        try:
            while not (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield match[0], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


class Load:
    """Requests at a rate, and their answers."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/upscale"
        self._pool = urllib3.PoolManager(retries=False, timeout=120, maxsize=CLIENTS)
        photo, portrait = example.png("photo"), example.png("reference-1")
        kind = "image/png"
        self._fields = [("photo", ("a", photo, kind)), ("references", ("b", portrait, kind))]
        self.answers: list[tuple[int, float]] = []  # status, seconds

    def call(self) -> None:
        """One request; one that fails has status 0."""
        began = time.perf_counter()
        try:
            status = self._pool.request("POST", self._url, fields=self._fields).status
        except urllib3.exceptions.HTTPError:
            status = 0
        self.answers.append((status, time.perf_counter() - began))

    def at_rate(self, rate: float, seconds: float) -> None:
        """So many requests a second, whatever the answers are."""
        ends, lock = time.perf_counter() + seconds, threading.Lock()
        due = time.perf_counter()

        def work() -> None:
            nonlocal due
            while True:
                with lock:
                    at, due = due, due + 1 / rate
                if at > ends:
                    return
                time.sleep(max(0.0, at - time.perf_counter()))
                self.call()

        threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def measure(url: str, process: int, registry: Registry, seconds: float) -> dict[str, Any]:
    """Everything that is printed."""
    alone, load = Load(url), Load(url)
    for _ in range(WARM_UP):
        alone.call()
    capacity = 1 / float(np.median([spent for _, spent in alone.answers]))
    mover = threading.Thread(target=move, args=(registry, seconds))
    mover.start()
    memory = [memory_of(process)]
    load.at_rate(2 * capacity, seconds)
    mover.join()
    memory.append(memory_of(process))
    statuses = [status for status, _ in load.answers]
    accepted = np.array([spent for status, spent in load.answers if status == 200])
    loads = urllib3.request("GET", f"{url}/metrics").data.decode()
    return {
        "seconds": seconds,
        "capacity_per_second": round(capacity, 2),
        "requests": len(statuses),
        "accepted": statuses.count(200),
        "busy_429": statuses.count(429),
        "other": len(statuses) - statuses.count(200) - statuses.count(429),
        "accepted_p50_s": round(float(np.percentile(accepted, 50)), 3),
        "accepted_p99_s": round(float(np.percentile(accepted, 99)), 3),
        "memory_start_mb": memory[0],
        "memory_end_mb": memory[1],
        "champion_moves": MOVES,
        "versions_loaded": int(float(re.findall(r"^refsr_model_loads (\S+)", loads, re.M)[0])),
    }


def memory_of(process: int) -> int:
    """MiB that a process has in memory."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) // 1024


def move(registry: Registry, seconds: float) -> None:
    """The champion, to and fro, in equal parts of the time."""
    for step in range(MOVES):
        time.sleep(seconds / (MOVES + 1))
        registry.make_champion(str(2 - step % 2), registry.champion())


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of load (default: 60)")
    parser.add_argument("--queue", type=int, default=8, help="places (default: 8)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
