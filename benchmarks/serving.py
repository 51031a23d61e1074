"""Load the service with twice what it can do, while the champion moves.

    python benchmarks/serving.py                                 # 5 minutes
    python benchmarks/serving.py --seconds 60 --hr 128 --scale 8

Starts `refsr serve` on a free port of this machine, with an MLflow store of its own and two
untrained versions of one network. First one client measures the capacity, and the champion moves to
and fro; then so many clients send requests at twice that rate, and it moves again. Ends with an
error where the server crashes. Prints one JSON object:

| key | meaning |
|---|---|
| ready_s, ready_cpu_s | until /readyz answers 200, and the processor's part of it |
| capacity_per_second | by one client, times the threads; accepted_per_second: under load |
| failed | requests under load with another answer than 200 and 429, or none |
| promise_s | what `refsr_promise_seconds` said meanwhile, the median |
| within_promise | share of the accepted for whom what it said then was kept |
| memory_... | of the server: after the warm-up, at the end, slope of a line between |
| onnx_ms, eager_ms, onnx_gain | of the processor for a face with one reference |
| batch_ms | of a face in calls of 1, 2, 4 and 8 faces, by PyTorch |
| request_ms | of a whole request without HTTP: what batches of any size leave as it is |
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import urllib3

import refsr
from refsr.config import Register
from refsr.inference import export
from refsr.inference.upscaler import upscale_batch
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import CHECKPOINT, METRICS, Registry
from refsr.integrations.tracking import start_run
from refsr.models.checkpoint import load_model, save_model
from refsr.models.compact import CompactRefsr
from refsr.service import example

CLIENTS = 32
WARM_UP = 30  # requests of one client
WARM_UP_SECONDS = 15.0  # at most, of load
MOVES = 2  # of the champion
ROUNDS = 15
BATCHES = (1, 2, 4, 8)
COMMAND = (sys.executable, "-m", "refsr", "--log-json", "serve", "--port", "0", "--poll", "1")


class Server(NamedTuple):
    """A server that runs."""

    url: str
    process: int
    ready: float
    ready_cpu: float


def main() -> None:
    """Start, load, print."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        open_store(uri)
        registry = make_registry(uri, folder, hr_size=options.hr, scale=options.scale)
        with served(uri, folder / "log", options.queue, options.threads) as server:
            result = measure(server, registry, options)
        print(json.dumps(result | network(folder)))


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
def served(uri: str, log: Path, queue: int, threads: int) -> Iterator[Server]:
    """A server; when the block ends it has to end as well, by SIGTERM."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    command = [*COMMAND, "--queue", str(queue), "--threads", str(threads)]
    began = time.perf_counter()
    with (
        log.open("w") as target,
        subprocess.Popen(command, env=environment, stderr=target) as process,
    ):
        try:
            while not (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            assert urllib3.request("GET", f"{match[0]}/readyz").status == 200
            ready = time.perf_counter() - began
            cpu = number(match[0], "process_cpu_seconds_total")
            yield Server(match[0], process.pid, ready, cpu)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


class Load:
    """Requests at a rate, and their answers."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/upscale"
        self._pool = urllib3.PoolManager(retries=False, timeout=120, maxsize=CLIENTS)
        sent = {"photo": example.png("photo"), "references": example.png("reference-1")}
        self._fields = [(name, (name, image, "image/png")) for name, image in sent.items()]
        self.answers: list[tuple[int, float, float]] = []  # status, seconds, when
        self.without_retry_after = 0

    def call(self) -> None:
        """One request; one that fails has status 0."""
        began = time.perf_counter()
        try:
            answer = self._pool.request("POST", self._url, fields=self._fields)
            status = answer.status
            self.without_retry_after += status == 429 and "retry-after" not in answer.headers
        except urllib3.exceptions.HTTPError:
            status = 0
        self.answers.append((status, time.perf_counter() - began, time.perf_counter()))

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

        with ThreadPoolExecutor(CLIENTS) as pool:
            for each in [pool.submit(work) for _ in range(CLIENTS)]:
                each.result()


def watch(server: Server, rows: list[tuple[float, ...]], ended: threading.Event) -> None:
    """Each second: the time, the memory of the server in MB, the seconds that it promises."""
    while not ended.wait(1):
        promise = number(server.url, "refsr_promise_seconds")
        rows.append((time.perf_counter(), memory_of(server.process), promise))


def measure(server: Server, registry: Registry, options: argparse.Namespace) -> dict[str, Any]:
    """What is printed of the server."""
    seconds = options.seconds
    alone, load = Load(server.url), Load(server.url)
    for move_to in ("2", "1"):  # with both versions in memory it is as large as it gets
        for _ in range(WARM_UP // 2):
            alone.call()
        move(server, registry, move_to)
    capacity = options.threads / statistics.median(spent for _, spent, _ in alone.answers)
    Load(server.url).at_rate(2 * capacity, min(WARM_UP_SECONDS, seconds / 4))
    memory = memory_of(server.process)
    rows, ended = list[tuple[float, ...]](), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(watch, server, rows, ended)
        moved = pool.submit(move_twice, server, registry, seconds)
        load.at_rate(2 * capacity, seconds)
        ended.set()
        moved.result()
    moments, sizes, promises = np.array(rows).T
    return {
        "seconds": seconds,
        "ready_s": round(server.ready, 2),
        "ready_cpu_s": round(server.ready_cpu, 2),
        "capacity_per_second": round(capacity, 2),
        **of_answers(load, moments, promises),
        "memory_start_mb": round(memory, 1),
        "memory_end_mb": round(memory_of(server.process), 1),
        "memory_slope_mb_per_min": round(60 * float(np.polyfit(moments, sizes, 1)[0]), 2),
        "champion_moves": MOVES,
        "versions_loaded": int(number(server.url, "refsr_model_loads")),
    }


def of_answers(load: Load, moments: np.ndarray, promises: np.ndarray) -> dict[str, Any]:
    """Of the requests under load: how they were answered, and whether as soon as promised."""
    statuses = [status for status, *_ in load.answers]
    accepted, when = np.array([rest for status, *rest in load.answers if status == 200]).T
    promised = promises[np.searchsorted(moments, when).clip(max=len(moments) - 1)]
    return {
        "requests": len(statuses),
        "accepted": statuses.count(200),
        "accepted_per_second": round((statuses.count(200) - 1) / float(np.ptp(when)), 2),
        "busy_429": statuses.count(429),
        "failed": len(statuses) - statuses.count(200) - statuses.count(429),
        "without_retry_after": load.without_retry_after,
        "accepted_p50_s": round(float(np.percentile(accepted, 50)), 3),
        "accepted_p99_s": round(float(np.percentile(accepted, 99)), 3),
        "promise_s": round(float(np.median(promises)), 3),
        "within_promise": round(float(np.mean(accepted <= promised)), 4),
    }


def network(folder: Path) -> dict[str, Any]:
    """What the network takes of a request, eager, exported and in batches."""
    checkpoint, exported = folder / CHECKPOINT, folder / "model.onnx"
    module = load_model(checkpoint)
    export.export(module, {}, exported)
    eager, onnx = refsr.load(checkpoint), refsr.load(exported)
    sides = (eager.lr_size, eager.hr_size)
    small, portrait = (np.zeros((side, side, 3), np.uint8) for side in sides)
    photo, reference, _ = example.pictures().values()
    runs: dict[str, Callable[[], object]] = {
        "eager_ms": partial(eager.upscale, small, portrait),
        "onnx_ms": partial(onnx.upscale, small, portrait),
        "request_ms": partial(eager.upscale_photo, photo, reference),
    }
    for count in BATCHES:
        stacks = (np.stack([each] * count) for each in (small, portrait))
        runs[str(count)] = partial(upscale_batch, module, *stacks)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.process_time()
            run()
            spent[name].append(1000 * (time.process_time() - began))
    medians = {name: round(statistics.median(each[1:]), 1) for name, each in spent.items()}
    batches = {str(count): round(medians.pop(str(count)) / count, 1) for count in BATCHES}
    gain = round(medians["eager_ms"] / medians["onnx_ms"], 2)
    return medians | {"onnx_gain": gain, "batch_ms": batches}


def memory_of(process: int) -> float:
    """MiB that a process has in memory."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def number(url: str, name: str) -> float:
    """One of the server's metrics."""
    text = urllib3.request("GET", f"{url}/metrics").data.decode()
    return float(re.findall(rf"^{name} (\S+)", text, re.M)[0])


def move(server: Server, registry: Registry, version: str) -> None:
    """Make a version champion, and wait until it is served."""
    registry.make_champion(version, registry.champion())
    served_now = f'"version":"{version}"'.encode()
    while served_now not in urllib3.request("GET", f"{server.url}/readyz").data:
        time.sleep(0.1)


def move_twice(server: Server, registry: Registry, seconds: float) -> None:
    """The champion, to and fro, in equal parts of the time."""
    for step in range(MOVES):
        time.sleep(seconds / (MOVES + 1))
        move(server, registry, str(2 - step % 2))


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="of load (default: 300)")
    parser.add_argument("--queue", type=int, default=8, help="places (default: 8)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--hr", type=int, default=64, help="pixels of the result (default: 64)")
    parser.add_argument("--scale", type=int, default=8, help="of the network (default: 8)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
