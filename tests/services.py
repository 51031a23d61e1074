"""Servers that tests talk to: real ones, on loopback, stopped when the block ends."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

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
