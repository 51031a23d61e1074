"""Servers that tests talk to: real ones, on loopback, stopped when the block ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "only-on-loopback", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_server(folder: Path, *buckets: str) -> Iterator[str]:
    """SeaweedFS with these buckets; yields its endpoint. It takes KEYS, and refuses others."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = ["weed", "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.port={port}", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    with (folder / "weed.log").open("w") as log:
        server = subprocess.Popen(
            [*command, f"-bucket={','.join(buckets)}"], env=os.environ | KEYS, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _await_buckets(s3_client(endpoint), set(buckets), server, folder / "weed.log")
        yield endpoint
    finally:
        server.terminate()
        server.wait(30)


def s3_client(endpoint: str, keys: Mapping[str, str] = KEYS) -> BaseClient:
    """A client of that server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=2, retries={"max_attempts": 0}),
    )


def _await_buckets(client: BaseClient, buckets: set[str], server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Buckets appear a moment after the server does."""
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(BotoCoreError, ClientError):
            if buckets <= {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """An MLflow server whose store is in `folder`; yields its URI. Gone at once, with its workers, at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _await_health(f"{uri}/health", server, folder / "server.log")
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def _await_health(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            urlopen(url, timeout=2).close()  # noqa: S310 - our own server
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
