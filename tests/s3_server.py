"""A real S3 server on loopback (SeaweedFS), and a proxy before it that stalls, refuses and breaks off now and then."""

import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}  # of this server, made for the test
BUCKET = "raw"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """The port of a server with an empty bucket, its files in `folder`."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    port = free_port()
    command = [
        weed,
        "-logtostderr=true",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.port={port}",
        f"-master.port={free_port()}",
        f"-volume.port={free_port()}",
        f"-filer.port={free_port()}",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        f"-bucket={BUCKET}",
    ]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=os.environ | KEYS, stdout=quiet, stderr=quiet)
    try:
        _wait(port, server)
        yield port
    finally:
        server.kill()
        server.wait()


def client(port: int) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, "the S3 server has ended"
        try:
            client(port).put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except Exception:  # not up yet, or its bucket is not
            assert time.monotonic() < deadline, "the S3 server does not come up"
            time.sleep(0.1)


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Hands requests on to `port`; every so many connections one is met with the next of `faults`, in turn.

    "500" answers with an error, "stall" says nothing until the client gives up, "break" ends amid the body.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, faults: tuple[str, ...], every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults, self.every = port, faults, every
        self.met: list[str] = []
        self._connections = 0
        self._lock = threading.Lock()

    def next_fault(self) -> str:
        with self._lock:
            self._connections += 1
            if self._connections % self.every:
                return ""
            self.met.append(self.faults[len(self.met) % len(self.faults)])
            return self.met[-1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self.server_address[1]
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(socketserver.BaseRequestHandler):
    server: FaultyProxy

    def handle(self) -> None:
        """One request of one connection: the reply says it is the last, so that each meets its own fate."""
        request = self._request()
        fault = self.server.next_fault() if request else ""
        if not request:
            return
        if fault == "stall":
            self.request.settimeout(10)
            with contextlib.suppress(OSError):
                self.request.recv(1)  # until the client closes
        elif fault == "500":
            self.request.sendall(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        else:
            self._relay(request, fault)

    def _request(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.request.recv(65536)
            if not piece:
                return b""
            data += piece
        return data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    def _relay(self, request: bytes, fault: str) -> None:
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream, contextlib.suppress(OSError):
            upstream.sendall(request)
            sent = 0
            while piece := upstream.recv(65536):
                if fault == "break" and (end := piece.find(b"\r\n\r\n")) >= 0 and not sent:
                    self.request.sendall(piece[: end + 4 + max(0, len(piece) - end - 4) // 2])
                    return
                self.request.sendall(piece)
                sent += len(piece)
