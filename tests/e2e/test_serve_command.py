"""The command `serve` as a process: it follows the champion, and SIGTERM lets requests end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from service_client import SMALL, Client

from benchmarks.serving import make_registry
from refsr.integrations.registry import Registry

COMMAND = (sys.executable, "-m", "refsr", "--log-json", "serve", "--port", "0", "--poll", "0.3")


@contextmanager
def requests(client: Client, photo: bytes) -> Iterator[Counter[int]]:
    """Requests one after another in two threads while the block runs, counted by status."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            statuses[client.upscale(photo, photo, crop="true").status] += 1

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_server_follows_the_champion_and_ends_without_a_failed_request(
    tracking_uri: str, tmp_path: Path
) -> None:
    registry = make_registry(tracking_uri, tmp_path, hr_size=32, scale=4, width=16, blocks=1)
    log = tmp_path / "log"
    with _started(log, tracking_uri) as process:
        client = Client(_address(log, process))
        with requests(client, SMALL) as statuses:
            _serves(client, "1")
            registry.make_champion("2", "1")
            _serves(client, "2")
            registry.rollback()
            _serves(client, "1")
        assert set(statuses) == {200}
        _delete(registry, "1")
        client.until("/metrics", lambda text: not re.search(r"^refsr_model_failures 0", text, re.M))
        _serves(client, "1")  # from memory
        _end_amid_a_request(client, process)
        assert process.wait() == 0
    text = log.read_text()
    assert "Traceback" not in text
    assert 1 <= text.count("is still served") <= 2  # a line for each cause, not for each look
    assert "no request is left" in text


@contextmanager
def _started(log: Path, uri: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    with (
        log.open("w") as target,
        subprocess.Popen(COMMAND, env=environment, stderr=target) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _serves(client: Client, version: str) -> None:
    client.until("/readyz", lambda text: f'"version":"{version}"' in text)


def _delete(registry: Registry, version: str) -> None:
    """As someone may who tidies up the registry."""
    registry._client.delete_registered_model_alias("refsr", "champion")
    registry._client.delete_model_version("refsr", version)


def _end_amid_a_request(client: Client, process: "subprocess.Popen[bytes]") -> None:
    with client.half_sent() as connection:
        client.until("/metrics", lambda text: "refsr_admitted 1.0" in text)
        process.send_signal(signal.SIGTERM)
        while not _is_closed(client):
            time.sleep(0.05)
        connection.sendall(bytes(95))
        assert re.match(rb"HTTP/1.1 4\d\d", connection.recv(100))


def _is_closed(client: Client) -> bool:
    try:
        client.get("/healthz")
    except urllib3.exceptions.HTTPError:
        return True
    return False


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    while process.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return match[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())
